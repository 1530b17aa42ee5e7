/**
 * What can be tried of arm64 without such a host: its kernel is pulled as `banger kernel pull debian` does there, and
 * boots to a guest's own init under qemu-system-aarch64 on this host, with banger's initramfs, disks and command line.
 *
 * deno task arm64-boot    needs Debian's qemu-system-arm; packages come from the configured Debian mirror
 */
import type { Progress } from "../lib/base/host.ts";
import { parseKernelName } from "../lib/base/names.ts";
import type { Kernel } from "../lib/kernel/manifest.ts";
import { KernelStore } from "../lib/kernel/store.ts";
import type { Drive } from "../lib/vmm/driver.ts";
import { qemuDriver } from "../lib/vmm/qemu/driver.ts";
import { mke2fsDiskBuilder } from "../tests/host/kernel/mke2fs_disk_builder.ts";
import { Bench, host as ownHost } from "../tests/host/vmm/tiny_guest.ts";
import { ports } from "../tests/unit/kernel/support.ts";

const host = { ...ownHost, processes: { ...ownHost.processes, architecture: "aarch64" as const } };
const TIMEOUT_MS = 300_000;
/** Says what the guest has, and ends it. */
const INIT = `#!/bin/busybox sh
b=/bin/busybox
$b uname -sm
for name in vda vdb vdc vdd; do $b echo "$name is $($b cat /sys/block/$name/serial)"; done
$b echo "port $($b cat /sys/class/virtio-ports/*/name)"
$b mount | $b grep "^/dev/vd"
$b ls /run/banger
$b reboot -f
`;
const EXPECTED = [
  "banger-init: handing over to /sbin/init",
  "Linux aarch64",
  "vda is root",
  "vdb is work",
  "vdc is config",
  "vdd is modules",
  "port banger.agent",
  "/dev/vdb on /root type ext4",
  "/dev/vdd on /lib/modules/",
  "config.json",
  "reboot: Restarting system",
];

async function run(directory: string, script: string): Promise<void> {
  const { code, stderr } = await new Deno.Command("sh", { args: ["-ec", script], cwd: directory }).output();
  if (code !== 0) throw new Error(`${script}\nfails: ${new TextDecoder().decode(stderr)}`);
}

async function pull(directory: string): Promise<Kernel> {
  const places = { kernelsDirectory: `${directory}/kernels`, cacheDirectory: `${directory}/cache` };
  const progress: Progress = { stage: (text) => console.log(text), update() {}, note: console.log };
  const store = new KernelStore(host, places, ports(mke2fsDiskBuilder));
  return await store.pull(parseKernelName("debian"), progress, new AbortController().signal);
}

async function makeDisks(directory: string): Promise<void> {
  await Deno.writeTextFile(`${directory}/init`, INIT, { mode: 0o755 });
  await run(
    directory,
    `dpkg -x cache/packages/busybox-static_*_arm64.deb busybox
    mkdir -p root/bin root/sbin root/proc root/sys root/dev root/run root/root root/tmp root/lib/modules config
    cp busybox/bin/busybox root/bin/; mv init root/sbin/; echo '{}' >config/config.json
    tar -C config -cf config.tar .
    truncate -s 64M root.raw; mke2fs -q -t ext4 -d root root.raw; truncate -s 32M work.raw; mke2fs -q -t ext4 work.raw`,
  );
}

/** @returns what its console said, once it has ended by itself */
async function boot(directory: string, kernel: Kernel): Promise<string> {
  const driver = qemuDriver(host, { acceleration: { kind: "tcg", why: "it is another processor" } });
  await using bench = await Bench.open();
  const disk = (id: Drive["id"], path: string, readOnly = false): Drive => ({
    id,
    path,
    format: "raw",
    readOnly,
  });
  const spec = bench.spec(kernel, "nothing", {
    memoryMib: 512,
    drives: [
      disk("root", `${directory}/root.raw`),
      disk("work", `${directory}/work.raw`),
      disk("config", `${directory}/config.tar`, true),
      disk("modules", kernel.modulesDiskPath, true),
    ],
  });
  const machine = await driver.launch(spec);
  if (await machine.waitForExit(TIMEOUT_MS)) return bench.consoleText;
  await machine.kill();
  throw new Error(`the guest did not end within ${TIMEOUT_MS / 1000} s:\n${bench.consoleText}`);
}

const directory = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "banger-arm64-" });
try {
  const kernel = await pull(directory);
  await makeDisks(directory);
  const text = await boot(directory, kernel);
  console.log(text);
  const missing = EXPECTED.filter((line) => !text.includes(line));
  if (missing.length > 0) throw new Error(`the guest did not say: ${missing.join("; ")}`);
  console.log(`arm64-boot: ${kernel.version} boots`);
} catch (thrown) {
  console.error(`arm64-boot: ${thrown instanceof Error ? thrown.message : thrown}`);
  Deno.exitCode = 1;
} finally {
  await Deno.remove(directory, { recursive: true });
}
