import type { AgentEndpoint } from "../vmm/driver.ts";

/** What the lifecycle asks of the agent in a guest. */
export interface GuestProbe {
  /** One quick try. */
  isUp(endpoint: AgentEndpoint): Promise<boolean>;
  /** Asks for a clean shutdown. @throws {BangerError} `guest_unreachable` */
  powerOff(endpoint: AgentEndpoint): Promise<void>;
}
