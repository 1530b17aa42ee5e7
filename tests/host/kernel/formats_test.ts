import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { writeCpio } from "../../../lib/kernel/cpio.ts";
import { openDeb, readDebData } from "../../../lib/kernel/deb.ts";
import { SCRIPTS } from "../../../lib/kernel/scripts.ts";
import { writeVmlinux } from "../../../lib/kernel/vmlinux.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { bzImage, elfExecutable, withSize } from "../../unit/kernel/fixtures.ts";
import { inTemporaryDirectory, run, runWell } from "./tools.ts";

Deno.test("cpio reads our archives", async () => {
  await inTemporaryDirectory(async (directory) => {
    const archive = writeCpio([
      { kind: "directory", path: "bin", mode: 0o755 },
      { kind: "file", path: "bin/tool", mode: 0o755, content: new TextEncoder().encode("hello\n") },
      { kind: "file", path: "empty", mode: 0o600, content: new Uint8Array(0) },
      { kind: "symlink", path: "bin/sh", target: "tool" },
      { kind: "character-device", path: "null", mode: 0o666, major: 1, minor: 3 },
    ]);
    const listed = await runWell("cpio", ["-itv", "--quiet"], { stdin: archive });
    const lines = listed.text.trim().split("\n").map((line) => line.split(/\s+/));
    assert.deepEqual(lines.map(([mode]) => mode), [
      "drwxr-xr-x",
      "-rwxr-xr-x",
      "-rw-------",
      "lrwxrwxrwx",
      "crw-rw-rw-",
    ]);
    assert.match(listed.text, /bin\/sh -> tool$/m);
    assert.match(listed.text, /1,\s+3/);
    await runWell("cpio", ["-id", "--quiet", "bin/tool"], { stdin: archive, cwd: directory });
    assert.equal(await Deno.readTextFile(`${directory}/bin/tool`), "hello\n");
  });
});

for (const [name, script] of [["init", SCRIPTS.init], ...Object.entries(SCRIPTS.guest)] as const) {
  if (name === "inittab") continue;
  Deno.test(`shellcheck and busybox accept the guest's ${name}`, async () => {
    await inTemporaryDirectory(async (directory) => {
      const path = `${directory}/script`;
      await Deno.writeTextFile(path, script);
      // dash is the nearest to busybox that it knows.
      const checked = await run("shellcheck", ["--shell=dash", path]);
      assert.equal(checked.code, 0, checked.text);
      await runWell("busybox", ["sh", "-n", path]);
    });
  });
}

for (const compression of ["xz", "gzip", "none"]) {
  Deno.test(`what dpkg-deb builds with ${compression} is read exactly`, async () => {
    await inTemporaryDirectory(async (directory) => {
      const long = `usr/lib/modules/6.1/${"d".repeat(60)}/${"e".repeat(60)}`;
      await Deno.mkdir(`${directory}/tree/DEBIAN`, { recursive: true });
      await Deno.mkdir(`${directory}/tree/${long}`, { recursive: true });
      await Deno.writeTextFile(
        `${directory}/tree/DEBIAN/control`,
        "Package: a-package\nVersion: 1:2.0-1\nArchitecture: amd64\nMaintainer: A <a@b.example>\nDescription: x\n",
      );
      const contents: Record<string, Uint8Array> = {
        "boot/vmlinuz": crypto.getRandomValues(new Uint8Array(60_000)),
        [`${long}/module.ko`]: new Uint8Array(1_000_003).map((_, at) => at * at >> 9),
        "empty": new Uint8Array(0),
      };
      await Deno.mkdir(`${directory}/tree/boot`);
      for (const [path, bytes] of Object.entries(contents)) {
        await Deno.writeFile(`${directory}/tree/${path}`, bytes);
      }
      await Deno.symlink("empty", `${directory}/tree/link`);
      await runWell("dpkg-deb", [`-Z${compression}`, "--build", "--root-owner-group", "tree", "a.deb"], {
        cwd: directory,
      });
      const deb = await openDeb(realHost(), `${directory}/a.deb`);
      assert.equal(deb.control.get("Version"), "1:2.0-1");
      const files = new Map<string, Uint8Array>();
      for await (const entry of readDebData(realHost(), deb)) {
        if (entry.kind === "file") files.set(entry.path, await entry.read(2_000_000));
      }
      assert.deepEqual([...files.keys()].sort(), Object.keys(contents).sort());
      for (const [path, bytes] of files) assert.ok(Buffer.from(bytes).equals(contents[path]!), path);
    });
  });
}

Deno.test("kernels packed by xz as Linux does it are unpacked, in one block and in many", async () => {
  await inTemporaryDirectory(async (directory) => {
    // Real machine code, so that the x86 filter has something to do.
    const code = await Deno.readFile(Deno.execPath()).then((bytes) => bytes.subarray(0, 3 << 20));
    const kernel = elfExecutable({ sizeBytes: code.length });
    kernel.set(code.subarray(4096), 4096);
    for (
      const args of [["--x86", "--lzma2=dict=32MiB"], ["--x86", "--lzma2=dict=1MiB", "--block-size=1MiB"], []]
    ) {
      const packed = await runWell("xz", ["--check=crc32", "-0", ...args, "--stdout"], { stdin: kernel });
      const path = `${directory}/vmlinux-${args.length}`;
      await writeVmlinux(realHost(), bzImage(withSize(packed.stdout, kernel.length)), path);
      assert.ok(Buffer.from(await Deno.readFile(path)).equals(kernel), args.join(" "));
    }
  });
});
