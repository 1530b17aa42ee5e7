import assert from "node:assert/strict";
import type { Kernel } from "../../../lib/kernel/manifest.ts";
import { timestampCounterKhz } from "../../../lib/vmm/cpu_info.ts";
import { report, run, runWell } from "./tools.ts";

const BOOT_TIMEOUT_MS = 40_000;
const START_TIMEOUT_MS = 15_000;
const COMMAND_LINE = "console=ttyS0 quiet nokaslr cryptomgr.notests mitigations=off random.trust_cpu=on " +
  "tsc=reliable no_timer_check net.ifnames=0 panic=-1";

/** Runs in place of the agent: prints what it finds, then ends the machine as the agent would. */
const AGENT = `#!/bin/sh
b=/run/banger/bin/busybox
echo "agent: hostname $($b hostname)"
echo "agent: work disk $($b cat /root/seed)"
echo "agent: version $($b uname -r)"
echo "agent: root $($b grep -c ' / ext4 rw' /proc/mounts)"
echo "agent: modules $($b grep -c "^/dev/vdd $($b readlink -f /lib/modules)/$($b uname -r) ext4 ro" /proc/mounts)"
$b modprobe btrfs && echo "agent: modprobe $($b grep -c ^btrfs /proc/modules)"
echo "agent: loopback $($b ip address show lo | $b grep -c 127.0.0.1/8)"
echo "agent: port $($b cat /sys/class/virtio-ports/*/name)"
[ -c /dev/vsock ] && echo "agent: vsock"
[ -c /dev/ptmx ] && echo "agent: ptmx"
[ -d /dev/pts ] && [ -d /dev/shm ] && [ -k /tmp ] && echo "agent: directories"
echo "agent: failures $($b dmesg | $b grep -ci 'module verification failed')"
$b sleep 1000 &
$b poweroff
$b sleep 60
`;

const OTHER_INIT = `#!/bin/sh
echo "init: running as $$ with $*"
while :; do /bin/busybox sleep 1; done
`;

interface Boot {
  readonly console: string;
  /** Milliseconds from QEMU's start to the line; undefined where it never came. */
  readonly startedMs: number | undefined;
  readonly totalMs: number;
  readonly hasEnded: boolean;
}

export async function bootTests(t: Deno.TestContext, directory: string, kernel: Kernel): Promise<void> {
  await t.step("an image without init: busybox init, all disks, agent, clean power-off", async () => {
    const root = await makeRoot(directory, "plain", {});
    const boot = await bootOnceMore(kernel, [root, ...await otherDisks(directory), kernel.modulesDiskPath]);
    for (
      const line of [
        "banger-init: start",
        "banger-init: root disk mounted",
        "banger-init: guest prepared",
        "banger-init: handing over to /run/banger/bin/busybox (none)",
        "banger-init: guest set up",
        "agent: hostname webbed",
        "agent: work disk here",
        `agent: version ${kernel.version}`,
        "agent: root 1",
        "agent: modules 1",
        "agent: modprobe 1",
        "agent: loopback 1",
        "agent: port banger.agent",
        "agent: vsock",
        "agent: ptmx",
        "agent: directories",
        "agent: failures 0",
      ]
    ) assert.ok(boot.console.includes(`${line}\n`), `no "${line}" in:\n${boot.console}`);
    assert.ok(boot.hasEnded, "it powers off by itself");
    assert.doesNotMatch(boot.console, /cannot|failed/i);
    report(`start of init after ${boot.startedMs} ms, powered off after ${boot.totalMs} ms`);
    assert.equal((await run("e2fsck", ["-fn", root])).code, 0, "the root disk was left clean");
  });
  await t.step("an image with an init of its own: it is process 1, the agent beside it", async () => {
    const root = await makeRoot(directory, "other", { "opt/an-init": OTHER_INIT }, {
      "sbin/init": "/opt/an-init",
    });
    const boot = await bootOnceMore(kernel, [root]);
    assert.match(boot.console, /banger-init: no disk \/dev\/vdb for \/root\n/);
    assert.match(boot.console, /banger-init: no config disk \/dev\/vdc\n/);
    assert.match(boot.console, /banger-init: handing over to \/sbin\/init \(other\)\n/);
    assert.match(boot.console, /init: running as 1 with/);
    assert.match(boot.console, /agent: root 1\n/);
  });
  await t.step(
    "a container's busybox with an inittab for programs that are not there counts as none",
    async () => {
      const inittab = "::sysinit:/sbin/openrc sysinit\n::respawn:/sbin/getty 38400 tty1\n";
      const root = await makeRoot(directory, "alpine", { "etc/inittab": inittab }, {
        "sbin/init": "/bin/busybox",
      });
      const boot = await bootOnceMore(kernel, [root]);
      assert.match(boot.console, /handing over to \/run\/banger\/bin\/busybox \(none\)\n/);
      assert.match(boot.console, /agent: root 1\n/);
    },
  );
  await t.step("a root disk that cannot be mounted: the reason, and the end", async () => {
    await Deno.writeFile(`${directory}/zeros`, new Uint8Array(1 << 20));
    const boot = await bootOnceMore(kernel, [`${directory}/zeros`]);
    assert.match(boot.console, /banger-init: failed: cannot mount the root disk: .*EXT4-fs \(vda\)/);
    assert.ok(boot.hasEnded);
  });
}

/** A root filesystem of busybox alone, on a merged /usr, with a symlinked /lib. */
async function makeRoot(
  directory: string,
  name: string,
  files: Readonly<Record<string, string>>,
  links: Readonly<Record<string, string>> = {},
): Promise<string> {
  const root = `${directory}/tree-${name}`;
  for (const path of ["bin", "sbin", "usr/lib", "usr/local/bin", "etc", "opt"]) {
    await Deno.mkdir(`${root}/${path}`, { recursive: true });
  }
  const busybox = await runWell("busybox", ["which", "busybox"]);
  await Deno.copyFile(busybox.text.trim(), `${root}/bin/busybox`);
  const allLinks = { "bin/sh": "busybox", lib: "usr/lib", ...links };
  for (const [path, target] of Object.entries(allLinks)) await Deno.symlink(target, `${root}/${path}`);
  for (const [path, text] of Object.entries({ "usr/local/bin/banger-vsock-agent": AGENT, ...files })) {
    await Deno.writeTextFile(`${root}/${path}`, text, { mode: 0o755 });
  }
  return await makeDisk(directory, name, root);
}

async function makeDisk(directory: string, name: string, tree: string): Promise<string> {
  const path = `${directory}/${name}.ext4`;
  await runWell("mke2fs", ["-q", "-t", "ext4", "-d", tree, path, "32M"]);
  return path;
}

/** Work disk and config disk. */
async function otherDisks(directory: string): Promise<string[]> {
  await Deno.mkdir(`${directory}/work`);
  await Deno.writeTextFile(`${directory}/work/seed`, "here\n");
  await Deno.mkdir(`${directory}/config`);
  await Deno.writeTextFile(`${directory}/config/hostname`, "webbed\n");
  await runWell("tar", ["-cf", `${directory}/config.tar`, "-C", `${directory}/config`, "hostname"]);
  return [await makeDisk(directory, "work", `${directory}/work`), `${directory}/config.tar`];
}

/**
 * Under software emulation a guest that has to find its clock's frequency by itself may wait for a timer tick
 * for ever: once more then, and only where it did not start.
 */
async function bootOnceMore(kernel: Kernel, disks: readonly string[]): Promise<Boot> {
  const first = await boot(kernel, disks);
  if (first.startedMs !== undefined) return first;
  report("the first boot did not reach its init: once more");
  return await boot(kernel, disks);
}

async function boot(kernel: Kernel, disks: readonly string[]): Promise<Boot> {
  const drives = disks.flatMap((path, at) => [
    ...["-drive", `id=d${at},file=${path},format=raw,if=none,readonly=${at > 1 ? "on" : "off"}`],
    ...["-device", `virtio-blk-device,drive=d${at}`],
  ]);
  const khz = timestampCounterKhz(await Deno.readTextFile("/proc/cpuinfo"));
  const commandLine = `${COMMAND_LINE}${khz === undefined ? "" : ` tsc_early_khz=${khz}`}`;
  const startMs = performance.now();
  const child = new Deno.Command("qemu-system-x86_64", {
    args: [
      ...[
        "-machine",
        "microvm",
        "-accel",
        "tcg",
        "-m",
        "256",
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
      ],
      ...["-display", "none", "-serial", "stdio"],
      ...["-kernel", kernel.vmlinuxPath, "-initrd", kernel.initramfsPath, "-append", commandLine],
      ...["-device", "virtio-serial-device", "-chardev", "null,id=agent"],
      ...["-device", "virtserialport,chardev=agent,name=banger.agent", ...drives],
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  let hasEnded = true;
  const stop = () => {
    hasEnded = false;
    child.kill("SIGKILL");
  };
  const timer = setTimeout(stop, BOOT_TIMEOUT_MS);
  // What never starts need not be waited for as long.
  const startTimer = setTimeout(stop, START_TIMEOUT_MS);
  let console = "";
  let startedMs: number | undefined;
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    console += text.replaceAll("\r", "");
    if (startedMs === undefined && console.includes("banger-init: start\n")) {
      startedMs = Math.round(performance.now() - startMs);
      clearTimeout(startTimer);
    }
    // Nobody ends this machine from inside: the init of its own ignores what the agent asks for.
    if (/\(other\)\n[^]*agent: failures/.test(console) && hasEnded) stop();
  }
  await child.status;
  clearTimeout(timer);
  clearTimeout(startTimer);
  return { console, startedMs, totalMs: Math.round(performance.now() - startMs), hasEnded };
}
