import { writeCpio } from "../../lib/kernel/cpio.ts";
import { type Feature, parseFeatures } from "./features.ts";

const TIMEOUT_MS = 180_000;
const MEMORY_MIB = 256;
const PLUGGED_MIB = 128;
const BALLOON_TARGET_MIB = 160;

/** In an initramfs without modules: everything must be built in. */
const INIT = String.raw`#!/bin/busybox sh
bb=/bin/busybox
tab=$(printf '\t')
report() { echo "$1$tab$2$tab$3"; }
total() { $bb awk '/^MemTotal/ { print $2 }' /proc/meminfo; }
$bb mount -t proc proc /proc
$bb mount -t sysfs sysfs /sys
$bb mount -t devtmpfs devtmpfs /dev

found=
for driver in virtio_blk virtio_net virtio_rng virtio_balloon virtio_mem; do
  for device in /sys/bus/virtio/drivers/$driver/virtio*; do
    [ -e "$device" ] && case $($bb readlink -f "$device") in */pci*) found="$found $driver" ;; esac
  done
done
case $found in
" virtio_blk virtio_net virtio_rng virtio_balloon virtio_mem") report ok "virtio over PCI" "bound:$found" ;;
*) report MISSING "virtio over PCI" "bound:$found" ;;
esac

tries=0
until [ "$(total)" -gt MEMORY_KIB ] || [ $tries -ge 600 ]; do
  tries=$((tries + 1))
  $bb usleep 100000
done
before=$(total)
if [ "$before" -gt MEMORY_KIB ]; then
  report ok virtio-mem "PLUGGED_MIB MiB plugged into a machine of MEMORY_MIB: $before KiB"
else
  report MISSING virtio-mem "$before KiB, nothing was plugged"
fi

echo "inflate the balloon"
tries=0
until [ "$(total)" -lt $((before - DEFLATED_KIB)) ] || [ $tries -ge 600 ]; do
  tries=$((tries + 1))
  $bb usleep 100000
done
after=$(total)
if [ "$after" -lt $((before - DEFLATED_KIB)) ]; then
  report ok balloon "asked for, memory went back to the host: $before to $after KiB"
else
  report MISSING balloon "$before to $after KiB"
fi
$bb poweroff -f
`;

function initramfs(busybox: Uint8Array): Uint8Array {
  const init = INIT.replaceAll("MEMORY_KIB", String(MEMORY_MIB * 1024))
    .replaceAll("DEFLATED_KIB", String((MEMORY_MIB - BALLOON_TARGET_MIB - 16) * 1024))
    .replaceAll("PLUGGED_MIB", String(PLUGGED_MIB)).replaceAll("MEMORY_MIB", String(MEMORY_MIB));
  const directory = (path: string) => ({ kind: "directory", path, mode: 0o755 }) as const;
  return writeCpio([
    ...["bin", "dev", "proc", "sys"].map(directory),
    { kind: "character-device", path: "dev/console", mode: 0o600, major: 5, minor: 1 },
    { kind: "file", path: "bin/busybox", mode: 0o755, content: busybox },
    { kind: "file", path: "init", mode: 0o755, content: new TextEncoder().encode(init) },
  ]);
}

function qemuArguments(vmlinux: string, directory: string): string[] {
  return [
    ...["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"],
    ...["-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", `${MEMORY_MIB}M,slots=2,maxmem=1G`],
    ...["-kernel", vmlinux, "-initrd", `${directory}/pci.cpio`],
    ...["-append", "console=ttyS0 quiet panic=-1 reboot=t memhp_default_state=online"],
    ...["-serial", "stdio", "-qmp", `unix:${directory}/qmp.sock,server=on,wait=off`],
    ...["-blockdev", "driver=null-co,node-name=disk,size=1048576,read-zeroes=on"],
    ...["-device", "virtio-blk-pci,drive=disk", "-device", "virtio-rng-pci"],
    ...["-netdev", "user,id=net,restrict=on", "-device", "virtio-net-pci,netdev=net"],
    ...["-device", "virtio-balloon-pci", "-object", "memory-backend-ram,id=more,size=512M"],
    ...["-device", `virtio-mem-pci,memdev=more,requested-size=${PLUGGED_MIB}M`],
  ];
}

/** Source: QEMU docs/interop/qmp-spec */
async function inflateBalloon(socketPath: string): Promise<void> {
  using qmp = await Deno.connect({ transport: "unix", path: socketPath });
  const lines = qmp.readable.pipeThrough(new TextDecoderStream()).getReader();
  await lines.read(); // its greeting
  for (
    const command of [
      { execute: "qmp_capabilities" },
      { execute: "balloon", arguments: { value: BALLOON_TARGET_MIB * 1024 * 1024 } },
    ]
  ) {
    await qmp.write(new TextEncoder().encode(`${JSON.stringify(command)}\n`));
    const { value } = await lines.read();
    if (value === undefined || value.includes('"error"')) {
      throw new Error(`QEMU refuses ${command.execute}: ${value}`);
    }
  }
  lines.releaseLock();
}

/** What banger's own machine has no device for, in a bare QEMU with PCI and a kernel that gets no modules. */
export async function checkOverPci(vmlinux: string, busybox: string, directory: string): Promise<Feature[]> {
  await Deno.writeFile(`${directory}/pci.cpio`, initramfs(await Deno.readFile(busybox)));
  const machine = new Deno.Command("qemu-system-x86_64", {
    args: qemuArguments(vmlinux, directory),
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
    signal: AbortSignal.timeout(TIMEOUT_MS),
  }).spawn();
  let text = "";
  let isInflated = false;
  for await (const chunk of machine.stdout.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    if (isInflated || !text.includes("inflate the balloon")) continue;
    isInflated = true;
    await inflateBalloon(`${directory}/qmp.sock`);
  }
  await machine.status;
  const features = parseFeatures(text);
  const names = ["virtio over PCI", "virtio-mem", "balloon"];
  const untold = names.filter((name) => !features.some((feature) => feature.name === name));
  return [
    ...features,
    ...untold.map((name) =>
      ({ verdict: "MISSING", name, seen: `the guest ended before: ${text.slice(-200)}` }) as const
    ),
  ];
}
