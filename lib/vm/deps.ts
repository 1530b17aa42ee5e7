import type { CommandLine, Host, Progress } from "../base/host.ts";
import type { Kernel } from "../kernel/manifest.ts";
import type { BridgeNetwork } from "../net/bridge/bridge_network.ts";
import type { Paths } from "../store/paths.ts";
import type { ImageRecord } from "../store/records.ts";
import type { Store } from "../store/store.ts";
import type { Drivers } from "../vmm/drivers.ts";
import type { VmEvents } from "./events.ts";
import type { GuestProbe } from "./guest_probe.ts";
import type { VmRecordKeeper } from "./record_keeper.ts";
import type { VmSettings } from "./host_settings.ts";

/** What the lifecycle of VMs works with; `daemon.ts` builds it. */
export interface VmDeps {
  readonly host: Host;
  readonly paths: Paths;
  readonly store: Store;
  readonly events: VmEvents;
  readonly records: VmRecordKeeper;
  readonly drivers: Drivers;
  readonly guest: GuestProbe;
  settings(): Promise<VmSettings>;
  /** Finds an image, or pulls it where the catalog has it. */
  ensureImage(name: string, progress: Progress, signal: AbortSignal): Promise<ImageRecord>;
  /** How long a removed VM can be brought back; 0: not at all. */
  trashKeepMs(): Promise<number>;
  ensureKernel(name: string, progress: Progress, signal: AbortSignal): Promise<Kernel>;
  /** The relay for a VM: `bangerd relay …`. */
  relayCommand(options: RelayOptions): CommandLine;
  readonly bridge: Pick<BridgeNetwork, "attach" | "adopt" | "detach" | "recover">;
  /** What VMs may reach that say nothing themselves (`parseNetRule`). */
  defaultAllowNet(): Promise<readonly string[]>;
  /** `vhost-device-vsock`, where the host's configuration names one. */
  readonly vhostDeviceVsock?: string;
}

export interface RelayOptions {
  readonly runtimeDirectory: string;
  readonly consoleLogPath: string;
  /**
   * The agent's streams over virtio-serial and the console; the console only; or neither, for a VMM that needs
   * nobody for them. The network in any case, where the machine has one.
   */
  readonly carries: "serial" | "console-only" | "network-only";
}
