/**
 * The recipe for real: mmdebstrap, one conversion, judged by e2fsprogs. It takes a minute or two, and it is
 * the only test that needs a Debian mirror.
 */
import assert from "node:assert/strict";
import type { HostPath } from "../../../lib/base/brand.ts";
import type { Progress } from "../../../lib/base/host.ts";
import { GUEST_TEXTS } from "../../../lib/guest/files/inject.ts";
import type { ImageSources } from "../../../lib/image/sources.ts";
import { ImageService } from "../../../lib/image/service.ts";
import type { ImageRecord } from "../../../lib/store/records.ts";
import { Store } from "../../../lib/store/store.ts";
import { host, requireTools, run, runOk, temporaryDirectory } from "../guest_files/tools.ts";

const SILENT: Progress = { stage: () => {}, update: () => {}, note: () => {} };
const unused = () => Promise.reject(new Error("a recipe asks no registry"));
const NO_SOURCES: ImageSources = { find: unused, findStored: unused, prune: unused };
const AGENT_BYTES = 5_000_000;

/** Does what debugfs's commands print. */
async function debugfs(disk: string, ...commands: string[]): Promise<string> {
  const stdin = new TextEncoder().encode(`${commands.join("\n")}\n`);
  const { code, stdout } = await run("debugfs", ["-f", "-", disk], { stdin });
  assert.equal(code, 0);
  return stdout.replaceAll(/^debugfs: .*\n/gm, "");
}

function makeService(directory: string, store: Store): ImageService {
  return new ImageService(host, {
    paths: { imagesDirectory: `${directory}/images` as HostPath },
    images: store.images,
    agent: {
      buildId: "test-build",
      open: () => ReadableStream.from([new Uint8Array(AGENT_BYTES).fill(0x41)]),
    },
    sources: NO_SOURCES,
    platform: "linux/amd64",
  });
}

Deno.test("the recipe debian-bookworm becomes a disk that e2fsck finds nothing wrong with", async (t) => {
  await requireTools("mmdebstrap", "e2fsck", "debugfs");
  await using directory = await temporaryDirectory();
  using store = Store.open(`${directory.path}/state.db`);
  const service = makeService(directory.path, store);
  const image: ImageRecord = await service.pull("debian-bookworm", SILENT, new AbortController().signal);
  const disk = service.rootfsPath(image);

  await t.step("the record says what is in it", () => {
    const { source, init, libc, hasSshServer, agentBuild, sizeBytes } = image;
    assert.deepEqual({ source, init, libc, hasSshServer, agentBuild, sizeBytes }, {
      source: "recipe:debian-bookworm",
      init: "systemd",
      libc: "glibc",
      hasSshServer: true,
      agentBuild: "test-build",
      sizeBytes: 8 * 2 ** 30,
    });
    assert.match(image.digest, /^sha256:[0-9a-f]{64}$/);
    assert.ok(
      image.contentBytes < 350_000_000,
      `${image.contentBytes} bytes are more than a default image may have`,
    );
    assert.deepEqual(service.list(), [image]);
  });

  await t.step("e2fsck", async () => {
    const { code, stdout, stderr } = await run("e2fsck", ["-fn", disk]);
    assert.equal(code, 0, stdout + stderr);
    assert.doesNotMatch(stdout, /[Ww]arning|error|\?/);
  });

  await t.step("it takes its content on the host's disk, not its size", async () => {
    const { allocatedBytes, sizeBytes } = (await host.files.stat(disk))!;
    assert.equal(sizeBytes, 8 * 2 ** 30);
    assert.ok(allocatedBytes < 450_000_000, `${allocatedBytes}`);
  });

  await t.step("banger's files are in it, root's and executable where they must be", async () => {
    for (const { path, mode, text } of GUEST_TEXTS) {
      assert.equal(await debugfs(disk, `cat ${path}`), text, path);
      assert.match(
        await debugfs(disk, `stat ${path}`),
        new RegExp(`Mode:\\s+0${mode.toString(8)}[^]*User:\\s+0 `),
        path,
      );
    }
    assert.match(
      await debugfs(disk, "stat /usr/local/bin/banger-vsock-agent"),
      new RegExp(`Size: ${AGENT_BYTES}\\b`),
    );
    assert.match(
      await debugfs(disk, "stat /etc/systemd/system/multi-user.target.wants/banger-vsock-agent.service"),
      /Fast link dest: "\/etc\/systemd\/system\/banger-vsock-agent\.service"|Type: symlink/,
    );
  });

  await t.step("it holds no secret, no name of this host, and nothing left by the build", async () => {
    assert.doesNotMatch(await debugfs(disk, "ls /etc/ssh"), /ssh_host_/);
    assert.equal(await debugfs(disk, "cat /etc/machine-id"), "");
    assert.equal(await debugfs(disk, "cat /etc/hostname"), "localhost\n");
    assert.doesNotMatch(await debugfs(disk, "ls /etc"), / resolv\.conf /);
    assert.doesNotMatch(
      await debugfs(disk, "ls /etc/apt/apt.conf.d", "ls /etc/dpkg/dpkg.cfg.d"),
      /mmdebstrap|banger/,
    );
    assert.doesNotMatch(await debugfs(disk, "ls /usr/share/man", "ls /usr/share/locale"), / (man1|de) /);
    assert.match(await debugfs(disk, "ls /usr/share/doc/bash"), / copyright /);
    assert.match(await debugfs(disk, "cat /etc/shadow"), /^root:\*:/m);
    assert.match(await debugfs(disk, "cat /etc/passwd"), /^root:x:0:0:root:\/root:\/bin\/bash$/m);
  });

  await t.step("the tools a developer misses first are there", async () => {
    const programs = ["git", "curl", "tmux", "rg", "jq", "python3", "make", "less", "rsync", "sudo", "ssh"];
    const listed = await debugfs(disk, "ls /usr/bin", "ls /usr/sbin");
    for (const program of [...programs, "sshd", "modprobe"]) {
      assert.match(listed, new RegExp(`\\) ${program.replace("+", "\\+")} `), program);
    }
  });

  await t.step("dpkg finds every package whole", async () => {
    await using tree = await temporaryDirectory();
    await runOk("debugfs", ["-R", `rdump /var/lib/dpkg ${tree.path}`, disk], { maxOutputBytes: 1000 });
    const audit = await run("dpkg", ["--root", tree.path, "--admindir", `${tree.path}/dpkg`, "--audit"]);
    assert.deepEqual({ code: audit.code, stdout: audit.stdout }, { code: 0, stdout: "" });
  });
});

Deno.test("a cancelled recipe leaves no file, no row, and no process", async () => {
  await requireTools("mmdebstrap");
  await using directory = await temporaryDirectory();
  using store = Store.open(`${directory.path}/state.db`);
  const service = makeService(directory.path, store);
  const before = await temporaryRoots();
  const controller = new AbortController();
  const pull = service.pull("debian-bookworm", SILENT, controller.signal);
  setTimeout(() => controller.abort(new Error("enough")), 3000);
  await assert.rejects(pull, /enough/);
  assert.deepEqual([...Deno.readDirSync(`${directory.path}/images`)], []);
  assert.deepEqual(service.list(), []);
  assert.deepEqual(await temporaryRoots(), before);
});

/** mmdebstrap's temporary directories. */
async function temporaryRoots(): Promise<string[]> {
  return (await host.files.list("/tmp")).filter((name) => name.startsWith("mmdebstrap."));
}
