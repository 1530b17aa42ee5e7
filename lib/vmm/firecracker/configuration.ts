import { BangerError } from "../../base/errors.ts";
import type { KernelSpec, MachineSpec } from "../driver.ts";
import { runtimeSockets } from "../driver.ts";
import { assertGuestCid } from "../helpers.ts";
import type {
  Balloon,
  BootSource,
  Drive,
  MachineConfiguration,
  NetworkInterface,
  SerialDevice,
  Vsock,
} from "./api.ts";
import { NAMESPACE_MTU, NAMESPACE_TAP } from "./namespace.ts";
import { canLimitConsole, canReportFreePages, canSayMtu, type Version } from "./version.ts";

/** The API's own limit. */
const MAX_CPUS = 32;
/** A guest that floods its console fills its host's disk no faster than 1 MiB at first, then 4 KiB/s. */
const CONSOLE_LIMIT = { size: 65_536, refill_time: 16_000, one_time_burst: 1_048_576 } as const;

/** Memory can be asked back later, and the guest takes it again before it kills a process. */
const EMPTY_BALLOON = { amount_mib: 0, deflate_on_oom: true, stats_polling_interval_s: 5 } as const;

/** Everything that is put before the start, in guest order where there is one. */
export interface Configuration {
  readonly serial: SerialDevice;
  readonly machine: MachineConfiguration;
  readonly bootSource: BootSource;
  readonly drives: readonly Drive[];
  readonly network?: NetworkInterface;
  readonly vsock: Vsock;
  readonly balloon: Balloon;
}

/**
 * What a spec means in Firecracker's terms. Pure.
 *
 * @throws {BangerError} `host_unsupported`, `invalid_argument` for what Firecracker cannot do
 */
export function firecrackerConfiguration(spec: MachineSpec, version: Version): Configuration {
  const serial = { serial_out_path: consolePathOf(spec) };
  const network = networkOf(spec, version);
  return {
    serial: canLimitConsole(version) ? { ...serial, rate_limiter: CONSOLE_LIMIT } : serial,
    machine: machineOf(spec),
    bootSource: {
      kernel_image_path: spec.kernel.vmlinuxPath,
      initrd_path: spec.kernel.initramfsPath,
      boot_args: bootArguments(spec.kernel),
    },
    drives: spec.drives.map(driveOf),
    ...(network ? { network } : {}),
    vsock: vsockOf(spec),
    balloon: canReportFreePages(version) ? { ...EMPTY_BALLOON, free_page_reporting: true } : EMPTY_BALLOON,
  };
}

export function consolePathOf(spec: MachineSpec): string {
  return spec.consolePath ?? `${spec.runtimeDirectory}/console.out`;
}

/** `reboot=k`: a reset through the keyboard controller, the one way out that Firecracker understands. */
function bootArguments(kernel: KernelSpec): string {
  const words = ["console=ttyS0", "quiet", "panic=-1", "reboot=k", "net.ifnames=0", "random.trust_cpu=on"];
  if (kernel.extraCommandLine) words.push(kernel.extraCommandLine);
  return words.join(" ");
}

function machineOf({ cpus, memoryMib }: MachineSpec): MachineConfiguration {
  if (cpus < 1 || cpus > MAX_CPUS) {
    throw new BangerError(
      "invalid_argument",
      `Cannot give a machine ${cpus} processors: Firecracker has at most ${MAX_CPUS}`,
      "Use fewer, or choose QEMU: --vmm qemu",
    );
  }
  return { vcpu_count: cpus, mem_size_mib: memoryMib, smt: false };
}

function driveOf(drive: MachineSpec["drives"][number]): Drive {
  if (drive.format !== "raw") {
    throw new BangerError(
      "host_unsupported",
      `Cannot use disk ${drive.id}: Firecracker reads raw disks only, and this one is a qcow2 overlay`,
      "Choose QEMU: --vmm qemu",
    );
  }
  return {
    drive_id: drive.id,
    path_on_host: drive.path,
    // banger's initramfs mounts /dev/vda; a root device would only add root= to the kernel's command line.
    is_root_device: false,
    is_read_only: drive.readOnly,
    cache_type: "Writeback",
  };
}

function networkOf({ network }: MachineSpec, version: Version): NetworkInterface | undefined {
  if (network.mode === "none") return undefined;
  if (network.mode === "tap") {
    return { iface_id: "eth0", host_dev_name: network.tapName, guest_mac: network.mac };
  }
  const card = { iface_id: "eth0", host_dev_name: NAMESPACE_TAP, guest_mac: network.mac };
  // Without, the guest sends packets of 1500 bytes: slower, and no less.
  return canSayMtu(version) ? { ...card, mtu: NAMESPACE_MTU } : card;
}

function vsockOf({ transport, runtimeDirectory }: MachineSpec): Vsock {
  if (transport.kind !== "firecracker-vsock") {
    throw new BangerError(
      "invalid_argument",
      `Cannot use ${transport.kind} with Firecracker: it has a vsock of its own`,
    );
  }
  assertGuestCid(transport.cid);
  return { guest_cid: transport.cid, uds_path: runtimeSockets(runtimeDirectory).agent };
}
