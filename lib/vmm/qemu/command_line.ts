import { type Architecture, ARCHITECTURES } from "../../base/architecture.ts";
import { BangerError } from "../../base/errors.ts";
import type { AccelerationKind, AgentTransport, Drive, KernelSpec, MachineSpec } from "../driver.ts";
import { runtimeSockets } from "../driver.ts";

/** As `lib/net/user` has it: one packet carries what takes 45 of 1500 bytes. */
const USER_NETWORK_MTU = 65_520;

/** The name that the agent looks for among /sys/class/virtio-ports. */
const AGENT_PORT_NAME = "banger.agent";

/** `docs/vmm.md` says for each option why it is there and what was measured. */
const SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/** What runs the guest's instructions. */
export interface GuestProcessor {
  readonly architecture: Architecture;
  readonly acceleration: AccelerationKind;
  /** The host's, for software emulation, where it is known: see `timestampCounterKhz`. */
  readonly timestampCounterKhz?: number;
}

/**
 * The arguments of the architecture's QEMU for a machine. Pure: the same spec gives the same arguments.
 *
 * Whatever holds a path is JSON where QEMU takes JSON, else has its commas doubled, so no path can add an option.
 */
export function qemuArguments(spec: MachineSpec, processor: GuestProcessor): string[] {
  const sockets = runtimeSockets(spec.runtimeDirectory);
  const { machine, emulatedProcessor, isDiskOrderReversed } = ARCHITECTURES[processor.architecture].qemu;
  const drives = isDiskOrderReversed ? spec.drives.toReversed() : spec.drives;
  return [
    ...["-name", `banger-${escapeCommas(spec.id)}`],
    ...["-nodefaults", "-no-user-config", "-no-reboot"],
    ...["-display", "none"],
    ...["-sandbox", SANDBOX],
    ...[
      "-machine",
      `${machine}${spec.transport.kind === "vhost-device-vsock" ? ",memory-backend=memory" : ""}`,
    ],
    ...accelerationArguments(processor.acceleration, emulatedProcessor),
    ...["-smp", `cpus=${spec.cpus}`],
    ...["-m", `size=${spec.memoryMib}M`],
    ...["-kernel", spec.kernel.vmlinuxPath],
    ...["-initrd", spec.kernel.initramfsPath],
    ...["-append", kernelCommandLine(spec.kernel, processor)],
    ...["-chardev", `socket,id=qmp,path=${escapeCommas(sockets.qmp)},server=on,wait=off`],
    ...["-mon", "chardev=qmp,mode=control"],
    ...["-chardev", `socket,id=console,path=${escapeCommas(sockets.console)},server=off,reconnect=1`],
    ...["-serial", "chardev:console"],
    ...deviceArguments({ ...spec, drives }),
  ];
}

function accelerationArguments(acceleration: AccelerationKind, emulatedProcessor: string): string[] {
  return acceleration === "kvm"
    ? ["-accel", "kvm", "-cpu", "host"]
    : ["-accel", "tcg,thread=multi", "-cpu", emulatedProcessor];
}

/**
 * What banger itself puts on every kernel's command line. On x86-64 `reboot=t` makes every reset a triple fault,
 * which `-no-reboot` turns into QEMU's end; `panic=-1` sends a panic down the same way at once.
 * Exported for tests.
 */
export function kernelCommandLine(kernel: KernelSpec, processor: GuestProcessor): string {
  const { kernel: own, qemu } = ARCHITECTURES[processor.architecture];
  const words = [
    `console=${qemu.console}`,
    "quiet",
    "panic=-1",
    ...own.resetWords,
    "net.ifnames=0",
    "random.trust_cpu=on",
    "cryptomgr.notests",
    ...own.clockWords,
  ];
  if (processor.acceleration === "tcg") {
    // Emulated, there is no speculation to guard against, and each of these costs a tenth of a second.
    words.push("nokaslr", "mitigations=off", "rcupdate.rcu_expedited=1", ...own.emulatedWords);
    // What was translated once is used again only where it lies at the same address: without it each program's
    // start takes two to three times as long.
    words.push("norandmaps");
    const khz = processor.timestampCounterKhz;
    // Without it, about 1 boot in 10 on a busy host waits for its first timer tick for ever.
    const isKnown = khz !== undefined && own.frequencyWord !== undefined;
    if (isKnown) words.push(`${own.frequencyWord}=${khz}`);
    // Else each processor but the first measures for some 30 ticks how long a delay is, and the first waits for it.
    if (isKnown && kernel.timerHz) words.push(`lpj=${Math.round((khz * 1000) / kernel.timerHz)}`);
  }
  if (kernel.extraCommandLine) words.push(kernel.extraCommandLine);
  return words.join(" ");
}

/**
 * Devices in the order that makes the first disk of a machine /dev/vda. No bus is named: QEMU hands out its
 * virtio-mmio buses itself.
 */
function deviceArguments(spec: MachineSpec): string[] {
  const args: string[] = [];
  const addDevice = (driver: string, properties: Record<string, unknown>) => {
    args.push("-device", JSON.stringify({ driver, ...properties }));
  };
  for (const drive of spec.drives) {
    args.push("-blockdev", JSON.stringify(blockdev(drive)));
    addDevice("virtio-blk-device", {
      drive: drive.id,
      id: `disk-${drive.id}`,
      serial: drive.id,
      "write-cache": "on",
      rerror: "report",
      // A write that the host does not take pauses the machine; going on tries it again.
      werror: "stop",
    });
  }
  if (spec.network.mode === "user") {
    const addr = { type: "unix", path: runtimeSockets(spec.runtimeDirectory).frames };
    args.push("-netdev", JSON.stringify({ type: "stream", id: "net0", server: true, addr }));
    addDevice("virtio-net-device", { netdev: "net0", mac: spec.network.mac, host_mtu: USER_NETWORK_MTU });
  } else if (spec.network.mode === "tap") {
    const tap = { type: "tap", id: "net0", ifname: spec.network.tapName, script: "no", downscript: "no" };
    args.push("-netdev", JSON.stringify(tap));
    addDevice("virtio-net-device", { netdev: "net0", mac: spec.network.mac });
  }
  addDevice("virtio-rng-device", {});
  // Empty for ever: it is there for the guest to say which memory is free, which goes back to the host.
  addDevice("virtio-balloon-device", { id: "balloon0", "free-page-reporting": true });
  addTransport(spec, args, addDevice);
  return args;
}

/** Source: QEMU qapi/block-core.json, BlockdevOptions. */
function blockdev(drive: Drive): Record<string, unknown> {
  // "write-cache=on" and no cache options: the page cache is used, and a guest's flush is an fdatasync.
  const file = (filename: string, readOnly: boolean, isDevice = false) => ({
    driver: isDevice ? "host_device" : "file",
    filename,
    aio: "threads",
    discard: "unmap",
    "read-only": readOnly,
  });
  const top = { "node-name": drive.id, discard: "unmap", "read-only": drive.readOnly };
  if (drive.format === "raw") {
    return { driver: "raw", ...top, file: file(drive.path, drive.readOnly, drive.isDevice) };
  }
  return {
    driver: "qcow2",
    ...top,
    file: file(drive.path, drive.readOnly),
    // Said here, so that whatever the overlay's header names is not opened.
    backing: { driver: "raw", "read-only": true, file: file(drive.backingPath, true) },
  };
}

function addTransport(
  spec: MachineSpec,
  args: string[],
  addDevice: (driver: string, properties: Record<string, unknown>) => void,
): void {
  const transport: AgentTransport = spec.transport;
  const sockets = runtimeSockets(spec.runtimeDirectory);
  switch (transport.kind) {
    case "virtio-serial":
      args.push("-chardev", `socket,id=agent,path=${escapeCommas(sockets.serial)},server=off,reconnect=1`);
      addDevice("virtio-serial-device", { id: "serial0" });
      args.push(
        "-device",
        JSON.stringify({
          driver: "virtserialport",
          bus: "serial0.0",
          nr: 1,
          chardev: "agent",
          name: AGENT_PORT_NAME,
        }),
      );
      return;
    case "vhost-vsock":
      addDevice("vhost-vsock-device", { "guest-cid": transport.cid });
      return;
    case "vhost-device-vsock":
      args.push(
        "-object",
        JSON.stringify({
          "qom-type": "memory-backend-memfd",
          id: "memory",
          size: spec.memoryMib * 1024 * 1024,
          share: true,
        }),
      );
      args.push("-chardev", `socket,id=vsock,path=${escapeCommas(sockets.vhostUser)}`);
      addDevice("vhost-user-vsock-device", { chardev: "vsock" });
      return;
    case "firecracker-vsock":
      throw new BangerError("invalid_argument", "Cannot start a QEMU machine with Firecracker's vsock");
  }
}

/** In QEMU's key=value option strings a comma is written twice. Source: qemu(1), "-drive". */
function escapeCommas(text: string): string {
  return text.replaceAll(",", ",,");
}
