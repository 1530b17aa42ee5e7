/**
 * Device-mapper snapshots need root and a kernel that has them, and not every host's does; a machine of banger's
 * always has both. So the test runs banger's own code in one: compiled, put together there from the runtime that the
 * agent brings along.
 */
import assert from "node:assert/strict";
import { runtimeSizeBytes } from "../../lib/cli/companions.ts";
import { temporaryDirectory } from "../host/guest_files/tools.ts";
import { BIN, ok, removing } from "./fixture.ts";

const LEAN = ["--cpus", "1", "--memory", "768M", "--disk", "1G", "--quiet"];
const root = new URL("../..", import.meta.url).pathname;

async function run(program: string, args: string[]): Promise<Uint8Array> {
  const { code, stdout, stderr } = await new Deno.Command(program, { args, cwd: root }).output();
  assert.equal(code, 0, `${program} ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  return stdout;
}

async function runtimeBytes(executable: string): Promise<number> {
  using file = await Deno.open(executable);
  const header = new Uint8Array(64);
  await file.read(header);
  return runtimeSizeBytes(header);
}

/** What `deno compile` puts behind the runtime. */
async function compiledTail(directory: string): Promise<Uint8Array> {
  const [bundle, executable] = [`${directory}/snapshot.js`, `${directory}/snapshot`];
  const entry = "tests/smoke/snapshot_in_guest.ts";
  await run(Deno.execPath(), ["bundle", "--quiet", "--output", bundle, entry]);
  const plain = ["--no-check", "--no-code-cache", "--no-config", "--no-lock", "--no-npm", "--no-remote"];
  await run(Deno.execPath(), ["compile", "--quiet", ...plain, "--allow-all", "--output", executable, bundle]);
  return (await Deno.readFile(executable)).subarray(await runtimeBytes(executable));
}

async function inside(script: string, stdin: Uint8Array = new Uint8Array()): Promise<string> {
  return await ok(["vm", "exec", "snapshots", "--", "sh", "-ec", script], { stdin });
}

Deno.test("root disks are device-mapper snapshots where there is a device mapper, and survive what may happen", async () => {
  await using directory = await temporaryDirectory();
  await using _vm = removing("snapshots");
  const creating = ok(["vm", "create", "--name", "snapshots", ...LEAN]);
  const tail = await compiledTail(directory.path);
  await creating;
  const tools = ["sbin/dmsetup", "lib/x86_64-linux-gnu/libdevmapper.so.1.02.1"];
  await inside(
    "tar -xh -C /",
    await run("tar", ["-ch", "--owner=0", "--group=0", "-C", "/", ...tools]),
  );
  const runtime = await runtimeBytes(`${BIN}/banger-vsock-agent`);
  await inside(
    `head -c ${runtime} /usr/local/bin/banger-vsock-agent >/root/snapshot; cat >>/root/snapshot; chmod +x /root/snapshot`,
    tail,
  );
  // Without udev and kmod nobody else loads them.
  await inside(
    'for name in loop dm-mod dm-bufio dm-snapshot; do find /lib/modules -name "$name.ko*" ' +
      "-exec /run/banger/bin/busybox insmod {} \\; ; done; test -e /dev/mapper/control",
  );
  const seen = JSON.parse((await inside("/root/snapshot /root/work")).trim().split("\n").at(-1)!);
  assert.equal(seen.root.rootDisk, "dm-snapshot");
  assert.match(seen.root.rootDiskReason, /has device-mapper snapshots/);
  assert.equal(seen.changes.allocatedBytes >= seen.changes.sizeBytes, true, "its space is taken at once");
  assert.deepEqual(seen.drive, {
    id: "root",
    path: "/dev/mapper/banger-0123456789ab",
    format: "raw",
    readOnly: false,
    isDevice: true,
  });
  assert.match(seen.table, /^0 131072 snapshot \d+:\d+ \d+:\d+ P 8/);
  assert.deepEqual(seen.leftAfterFirst, []);
  assert.deepEqual(seen.kept, { text: "from the first run", isDiskFull: true });
  assert.doesNotMatch(seen.status, /Invalid|Overflow/);
  assert.equal(seen.fsckCode, 0);
  assert.deepEqual(seen.leftAtEnd, []);
  assert.equal(seen.isImageUntouched, true);
});
