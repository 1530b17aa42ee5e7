/** The smallest guest that can say something: Debian's cloud kernel and a busybox initramfs. */
import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import type { ProcessIdentity } from "../../../lib/base/host.ts";
import { writeCpio } from "../../../lib/kernel/cpio.ts";
import { writeVmlinux } from "../../../lib/kernel/vmlinux.ts";
import { realHost } from "../../../lib/sys/host.ts";
import type { Drive, MachineSpec } from "../../../lib/vmm/driver.ts";
import { runtimeSockets } from "../../../lib/vmm/driver.ts";

export const host = realHost();
// Signals go through a library that is loaded at the first one: not within a test, which would have to unload it.
await host.processes.signal({ pid: 2 ** 22 + 1, startTimeTicks: 0, bootId: "", executable: "/" }, "SIGTERM");

const META_PACKAGE = "linux-image-cloud-amd64";
const MODULES = [
  "virtio_ring",
  "virtio",
  "virtio_mmio",
  "virtio_blk",
  "virtio_console",
  "failover",
  "net_failover",
  "virtio_net",
  "vsock",
  "vmw_vsock_virtio_transport_common",
  "vmw_vsock_virtio_transport",
];
const INIT = `#!/bin/busybox sh
B=/bin/busybox
$B mkdir -p /proc /sys /dev /mnt
$B mount -t proc proc /proc; $B mount -t sysfs sysfs /sys; $B mount -t devtmpfs dev /dev
exec >/dev/ttyS0 2>&1 </dev/ttyS0
echo "banger-init: start"
for m in ${MODULES.join(" ")}; do [ ! -e /modules/$m.ko ] || $B insmod /modules/$m.ko; done
for word in $($B cat /proc/cmdline); do
  case $word in tiny.run=*) script=$word ;; esac
done
run=/tiny/\${script#tiny.run=}
[ -e "$run" ] && . "$run"
echo "banger-init: idle"
while :; do $B sleep 0.2; $B cut -d' ' -f1 /proc/uptime; done
`;
/** What a test can ask the guest to do, by `tiny.run=NAME` on the kernel's command line. */
const SCRIPTS = {
  disks: `for d in /sys/block/vd*; do
  echo "disk: \${d##*/} $($B cat $d/serial) $($B cat $d/size) ro=$($B cat $d/ro)"
done
echo "port: $($B cat /sys/class/virtio-ports/*/name)"
echo "mac: $($B cat /sys/class/net/eth0/address)"
`,
  overlay: `echo "read: $($B head -c 12 /dev/vda)"
printf 'from-guest!!' | $B dd of=/dev/vda conv=fsync,notrunc 2>/dev/null && echo "written"
`,
  fill: `i=0
while [ $i -lt 24 ]; do
  $B yes "block $i" | $B dd of=/dev/vda bs=1M count=1 seek=$i iflag=fullblock conv=fsync,notrunc 2>/dev/null || break
  i=$((i + 1))
done
echo "filled: $i"
`,
  network: `$B ip address add 10.0.2.15/24 dev eth0; $B ip link set eth0 up
while :; do $B nc -w 1 10.0.2.2 80 </dev/null 2>/dev/null; $B sleep 0.2; done
`,
  poweroff: "$B poweroff -f\n",
  panic: "exit 1\n",
  ports: `port=$($B ls /dev/vport* | $B head -n 1)
exec 3<>$port
echo "banger-init: port"
$B cat <&3 >&3
`,
} as const;

export interface TinyKernel {
  readonly vmlinuxPath: string;
  readonly initramfsPath: string;
}

async function runOk(program: string, args: string[], cwd?: string): Promise<string> {
  const command = { program, args, ...(cwd === undefined ? {} : { cwd }) };
  const { code, stdout, stderr } = await host.processes.run(command, { timeoutMs: 120_000 });
  assert.equal(code, 0, `this test needs "${program} ${args.join(" ")}" to work: ${stderr}`);
  return stdout;
}

/** Made once and kept in the user's cache: the kernel's package is 27 MB. */
export async function tinyKernel(): Promise<TinyKernel> {
  const cacheHome = Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME")}/.cache`;
  const dependencies = await runOk("apt-cache", ["depends", META_PACKAGE]);
  const packageName = /Depends: (linux-image-[a-z0-9.+-]+-cloud-amd64)/.exec(dependencies)?.[1];
  assert.ok(packageName, `this test needs the package ${META_PACKAGE} in apt's lists: apt-get update`);
  const directory = `${cacheHome}/banger-dev/tiny-guest`;
  await Deno.mkdir(directory, { recursive: true });
  await using _lock = await host.files.lock(`${directory}/lock`);
  const unpacked = `${directory}/${packageName}`;
  if (!(await host.files.stat(`${unpacked}/vmlinux`))) await unpackKernel(directory, packageName, unpacked);
  const initramfsPath = `${directory}/initramfs.cpio`;
  await host.files.writeAtomic(initramfsPath, await tinyInitramfs(unpacked));
  return { vmlinuxPath: `${unpacked}/vmlinux`, initramfsPath };
}

async function unpackKernel(directory: string, packageName: string, unpacked: string): Promise<void> {
  const staging = await Deno.makeTempDir({ dir: directory, prefix: ".staging-" });
  try {
    await runOk("apt-get", ["download", packageName], staging);
    const [deb] = await host.files.list(staging);
    await runOk("dpkg-deb", ["-x", deb!, "contents"], staging);
    const boot = `${staging}/contents/boot`;
    const image = (await host.files.list(boot)).find((name) => name.startsWith("vmlinuz-"));
    await writeVmlinux(host, await Deno.readFile(`${boot}/${image}`), `${staging}/contents/vmlinux`);
    await Deno.rename(`${staging}/contents`, unpacked);
  } finally {
    await Deno.remove(staging, { recursive: true });
  }
}

async function tinyInitramfs(unpacked: string): Promise<Uint8Array> {
  const busybox = await host.processes.which("busybox");
  assert.ok(busybox, "this test needs busybox-static: install it (see scripts/dev)");
  const found = await runOk("find", [`${unpacked}/lib/modules`, "-name", "*.ko"]);
  const text = (content: string) => new TextEncoder().encode(content);
  const file = (path: string, content: Uint8Array, mode = 0o755) => ({
    kind: "file" as const,
    path,
    mode,
    content,
  });
  const directory = (path: string) => ({ kind: "directory" as const, path, mode: 0o755 });
  const modules = [];
  for (const name of MODULES) {
    const path = found.split("\n").find((line) => line.endsWith(`/${name}.ko`));
    if (path) modules.push(file(`modules/${name}.ko`, await Deno.readFile(path)));
  }
  return writeCpio([
    directory("bin"),
    file("bin/busybox", await Deno.readFile(busybox)),
    directory("modules"),
    ...modules,
    directory("tiny"),
    ...Object.entries(SCRIPTS).map(([name, script]) => file(`tiny/${name}`, text(script))),
    file("init", text(INIT)),
  ]);
}

/** For assert.rejects: banger's error of that code, whose message matches. */
export function isError(code: string, text: RegExp) {
  return (thrown: unknown) => {
    assert.ok(thrown instanceof BangerError, String(thrown));
    assert.equal(thrown.code, code, thrown.message);
    assert.match(thrown.message, text);
    return true;
  };
}

/**
 * Waits until a child of ours is not even a zombie any more. A machine outlives this process, so nobody waits for
 * it in earnest, but the leak sanitizer asks whether Deno has noticed the end.
 */
export async function reaped(...processes: readonly ProcessIdentity[]): Promise<void> {
  for (const { pid } of processes) {
    while (await host.files.stat(`/proc/${pid}`)) await host.clock.sleep(5);
  }
  await host.clock.sleep(20);
}

/** A directory for one machine, with somebody listening where the relay would. Gone with the test. */
export class Bench implements AsyncDisposable {
  readonly directory: string;
  consoleText = "";
  readonly #listeners: Deno.Listener[] = [];
  readonly #connections: Deno.Conn[] = [];
  readonly #loops: Promise<void>[] = [];
  /** Set once QEMU's virtio-serial port has connected. */
  serial: Deno.Conn | undefined;

  private constructor(directory: string) {
    this.directory = directory;
  }

  static async open(): Promise<Bench> {
    const bench = new Bench(await Deno.makeTempDir({ prefix: "banger-vmm-" }));
    const sockets = runtimeSockets(bench.directory);
    bench.#listen(sockets.console, (connection) => bench.#keepConsole(connection));
    bench.#listen(sockets.serial, (connection) => {
      bench.serial = connection;
      return Promise.resolve();
    });
    return bench;
  }

  #listen(path: string, serve: (connection: Deno.Conn) => Promise<void>): void {
    const listener = Deno.listen({ transport: "unix", path });
    this.#listeners.push(listener);
    this.#loops.push((async () => {
      for await (const connection of listener) {
        this.#connections.push(connection);
        await serve(connection);
      }
    })());
  }

  async #keepConsole(connection: Deno.Conn): Promise<void> {
    const buffer = new Uint8Array(4096);
    for (;;) {
      const count = await connection.read(buffer).catch(() => null);
      if (count === null) return;
      this.consoleText += new TextDecoder("latin1").decode(buffer.subarray(0, count));
    }
  }

  async disk(name: string, sizeBytes: number): Promise<string> {
    const path = `${this.directory}/${name}`;
    await using file = await host.files.open(path, { write: true, createNew: true });
    await file.truncate(sizeBytes);
    return path;
  }

  spec(
    kernel: TinyKernel,
    run: keyof typeof SCRIPTS | "nothing",
    parts: Partial<MachineSpec> = {},
  ): MachineSpec {
    const drives: Drive[] = [];
    return {
      id: "tiny",
      runtimeDirectory: this.directory,
      cpus: 1,
      memoryMib: 192,
      kernel: { ...kernel, extraCommandLine: `tiny.run=${run}` },
      drives,
      network: { mode: "none" },
      transport: { kind: "virtio-serial" },
      logPath: `${this.directory}/vmm.log`,
      ...parts,
    };
  }

  /** @param isHung says why waiting is pointless */
  async waitForConsole(text: string | RegExp, timeoutMs = 60_000): Promise<void> {
    const deadlineMs = performance.now() + timeoutMs;
    while (!(typeof text === "string" ? this.consoleText.includes(text) : text.test(this.consoleText))) {
      assert.ok(
        performance.now() < deadlineMs,
        `${text} did not come; the console says: ${this.consoleText}`,
      );
      await host.clock.sleep(20);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const listener of this.#listeners) listener.close();
    for (const connection of this.#connections) connection.close();
    await Promise.allSettled(this.#loops);
    await Deno.remove(this.directory, { recursive: true });
  }
}
