/** A guest that writes and syncs for as long as it runs, and says at its start what it finds. */
import { writeCpio } from "../../lib/kernel/cpio.ts";

/** Where on both disks it writes: beyond what the images' file systems begin with. */
const BLOCK = 2048;

/** Replaces the tiny guest's own init loop: the last file of that name counts. */
const INIT = `#!/bin/busybox sh
B=/bin/busybox
$B mkdir -p /proc /sys /dev
$B mount -t proc proc /proc; $B mount -t sysfs sysfs /sys; $B mount -t devtmpfs dev /dev
exec >/dev/ttyS0 2>&1 </dev/ttyS0
echo "banger-init: start"
for m in virtio_ring virtio virtio_mmio virtio_blk; do [ ! -e /modules/$m.ko ] || $B insmod /modules/$m.ko; done
read_back() { $B dd if=/dev/$1 bs=4096 skip=${BLOCK} count=1 2>/dev/null | $B head -n 1 | $B tr -cd 0-9; }
vda=$(read_back vda); vdb=$(read_back vdb)
echo "found: \${vda:-0} \${vdb:-0}"
n=\${vda:-0}; [ "\${vdb:-0}" -le "$n" ] || n=$vdb
echo "banger-init: idle"
while :; do
  n=$((n + 1))
  for disk in vda vdb; do
    echo "$n " | $B dd of=/dev/$disk bs=4096 seek=${BLOCK} conv=notrunc,fsync 2>/dev/null || echo "failed: $disk"
  done
  echo "synced: $n"
done
`;

/** @param initramfsPath of the tiny guest */
export async function writingInitramfs(initramfsPath: string): Promise<Uint8Array> {
  const base = await Deno.readFile(initramfsPath);
  const init = writeCpio([{
    kind: "file",
    path: "init",
    mode: 0o755,
    content: new TextEncoder().encode(INIT),
  }]);
  const whole = new Uint8Array(base.length + init.length);
  whole.set(base);
  whole.set(init, base.length);
  return whole;
}
