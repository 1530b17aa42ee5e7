import type { ProcessIdentity } from "../base/host.ts";

/** Where the guest's agent is reached; both kinds lead to its vsock ports. */
export type AgentEndpoint =
  /** A Unix socket that answers `CONNECT <port>\n` with `OK <port>\n`, then is a byte stream. */
  | { readonly kind: "hybrid"; readonly path: string }
  /** AF_VSOCK on this host. */
  | { readonly kind: "vsock"; readonly cid: number };

/** A guest disk. Formats are always said, never probed: a guest could write a qcow2 header into a raw disk. */
export type Drive = RawDrive | OverlayDrive;

export type DriveId = "root" | "work" | "config" | "modules";

export interface RawDrive {
  readonly id: DriveId;
  readonly path: string;
  readonly format: "raw";
  readonly readOnly: boolean;
  /** The path is a block device, not a file. */
  readonly isDevice?: boolean;
}

export interface OverlayDrive {
  readonly id: DriveId;
  readonly path: string;
  readonly format: "qcow2";
  /** The raw file below the overlay; opened read-only, shared by any number of machines. */
  readonly backingPath: string;
  readonly readOnly: boolean;
}

export type MachineNetwork =
  /**
   * The guest's frames on a Unix socket (`runtimeSockets`), or on a tap in the machine's own namespace
   * (`MachineRecord.namespace`), where `lib/net/user` carries them: guest 10.0.2.15/24, gateway 10.0.2.2, DNS
   * 10.0.2.3, IPv4 only.
   */
  | { readonly mode: "user"; readonly mac: string }
  | { readonly mode: "tap"; readonly mac: string; readonly tapName: string }
  | { readonly mode: "none" };

export type AgentTransport =
  /** Port `banger.agent` on a socket that the relay listens on before the machine starts. */
  | { readonly kind: "virtio-serial" }
  /** The host kernel's vsock. */
  | { readonly kind: "vhost-vsock"; readonly cid: number }
  /** vsock by a process beside QEMU, which makes the hybrid socket. `program` is an absolute path. */
  | { readonly kind: "vhost-device-vsock"; readonly cid: number; readonly program: string }
  /** Firecracker's own vsock, with its hybrid socket. */
  | { readonly kind: "firecracker-vsock"; readonly cid: number };

export interface KernelSpec {
  /** Uncompressed ELF. */
  readonly vmlinuxPath: string;
  readonly initramfsPath: string;
  /** Timer ticks a second that it was built for, where that is known. */
  readonly timerHz?: number;
  /** Appended to banger's own command line. */
  readonly extraCommandLine?: string;
}

/** What a driver needs to make one running machine. All paths are absolute. */
export interface MachineSpec {
  readonly id: string;
  /** Exists with mode 0700 and belongs to this machine alone. Its sockets' paths must fit 107 bytes. */
  readonly runtimeDirectory: string;
  readonly cpus: number;
  readonly memoryMib: number;
  readonly kernel: KernelSpec;
  /** In guest order: the first is /dev/vda. */
  readonly drives: readonly Drive[];
  readonly network: MachineNetwork;
  readonly transport: AgentTransport;
  /** The VMM's own messages are appended here. */
  readonly logPath: string;
  /**
   * Where a driver without a console socket (Firecracker) appends the guest's console. QEMU does not use it:
   * the relay keeps its console.
   */
  readonly consolePath?: string;
}

/** The files of a machine's runtime directory. Drivers and the relay meet here. */
export function runtimeSockets(runtimeDirectory: string) {
  return {
    /** The relay listens; QEMU's serial console connects. */
    console: `${runtimeDirectory}/console.sock`,
    /** The relay listens; QEMU's virtio-serial port connects. */
    serial: `${runtimeDirectory}/serial.sock`,
    /** The hybrid socket that clients of the agent connect to. */
    agent: `${runtimeDirectory}/agent.sock`,
    /** QEMU listens; the relay takes the guest's frames. */
    frames: `${runtimeDirectory}/net.sock`,
    /** The relay waits here for the frames of a machine in a namespace of its own. */
    tap: `${runtimeDirectory}/tap.sock`,
    /** QEMU listens. */
    qmp: `${runtimeDirectory}/qmp.sock`,
    /** vhost-device-vsock listens; QEMU connects. */
    vhostUser: `${runtimeDirectory}/vhost.sock`,
    /** Firecracker listens. */
    api: `${runtimeDirectory}/api.sock`,
  } as const;
}

export type DriverName = "qemu" | "firecracker";

export type AccelerationKind = "kvm" | "tcg";

export interface Acceleration {
  readonly kind: AccelerationKind;
  /** For people: why this one, and for `tcg` what it means. */
  readonly why: string;
}

/** The network namespace that a machine runs in, where it is not the host's. */
export interface MachineNamespace {
  /** The network card there whose other side is the guest's. */
  readonly card: string;
  /** Whether it belongs to a user namespace, which whoever enters it must enter, too. */
  readonly hasUserNamespace: boolean;
}

/** Where a machine is confined by Firecracker's jailer. */
export interface MachineJail {
  /** All of it; of this machine alone. */
  readonly directory: string;
  /** What the machine takes for `/`. */
  readonly root: string;
  readonly cgroup?: string;
}

/** A running machine as it is kept on disk, enough to find it again. JSON; read back by `parseMachineRecord`. */
export interface MachineRecord {
  readonly driver: DriverName;
  readonly machineId: string;
  /** The VMM. */
  readonly process: ProcessIdentity;
  /** Processes beside it that end with it. */
  readonly helpers: readonly ProcessIdentity[];
  /** QMP or Firecracker's API. */
  readonly controlSocket: string;
  readonly runtimeDirectory: string;
  readonly endpoint: AgentEndpoint;
  readonly acceleration: Acceleration;
  readonly namespace?: MachineNamespace;
  readonly jail?: MachineJail;
}

/**
 * `running`; `paused` by us; `out-of-space` where a write met a full host disk, `io-error` where it failed
 * otherwise (`resume` tries it again, so that nothing is lost); `ended` where the process is gone or the guest has shut down; `failed` otherwise.
 */
export type MachineStatus = "running" | "paused" | "out-of-space" | "io-error" | "ended" | "failed";

/** A started machine. It lives on when this object and this process are gone. */
export interface Machine {
  readonly record: MachineRecord;
  readonly endpoint: AgentEndpoint;
  isAlive(): Promise<boolean>;
  /** User plus system time the VMM has used. @returns undefined if it is gone */
  cpuTimeMs(): Promise<number | undefined>;
  /** @throws {BangerError} `guest_failed` where the VMM does not answer */
  status(): Promise<MachineStatus>;
  /** @throws {BangerError} `wrong_state`, `guest_failed` */
  pause(): Promise<void>;
  /** @throws {BangerError} `wrong_state`, `guest_failed` */
  resume(): Promise<void>;
  /**
   * Makes a raw disk larger, its file and what the guest sees of it.
   *
   * @throws {BangerError} `wrong_state`, `guest_failed`
   */
  growDrive(drive: Pick<RawDrive, "id" | "path">, sizeBytes: number): Promise<void>;
  /** Asks the guest's kernel to power off; says nothing about whether it will. */
  powerButton(): Promise<void>;
  /**
   * Waits for the machine to end by itself, then ends its helpers and removes its sockets.
   *
   * @returns whether it is gone within `timeoutMs`
   */
  waitForExit(timeoutMs: number): Promise<boolean>;
  /** As if its power were cut. Idempotent; afterwards nothing of it is left. */
  kill(): Promise<void>;
}

export interface VmmDriver {
  readonly name: DriverName;
  /**
   * Starts a machine; the guest's kernel runs when this returns. On failure or abort nothing is left.
   *
   * @throws {BangerError} `missing_tool`, `host_unsupported`, `boot_failed`; the signal's reason
   */
  launch(spec: MachineSpec, signal?: AbortSignal): Promise<Machine>;
  /**
   * Finds a machine again that was started before.
   *
   * @returns undefined only if it is surely gone; its helpers and sockets are then gone as well
   * @throws {BangerError} `state_broken` where its process lives and it can't be talked to
   */
  adopt(record: MachineRecord): Promise<Machine | undefined>;
}
