import type { AgentEndpoint } from "../vmm/driver.ts";

/** What the lifecycle asks of the agent in a guest. */
export interface GuestProbe {
  /** One try, which waits for the answer of a guest that boots; false where there is none. */
  isUp(endpoint: AgentEndpoint, signal: AbortSignal): Promise<boolean>;
  /**
   * Lets the work disk's file system fill the disk, which was made larger.
   *
   * @param diskBytes the disk's new size, which the guest may notice a moment later
   * @throws {BangerError} `guest_unreachable`, `guest_failed`; `not_found` where its agent is too old
   */
  growWorkDisk(endpoint: AgentEndpoint, diskBytes: number): Promise<void>;
  /** Asks for a clean shutdown. @throws {BangerError} `guest_unreachable` */
  powerOff(endpoint: AgentEndpoint): Promise<void>;
}
