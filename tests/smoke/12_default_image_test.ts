/** The default image as its recipe made it, judged by e2fsprogs and dpkg. */
import assert from "node:assert/strict";
import { GUEST_TEXTS } from "../../lib/guest/files/inject.ts";
import { host, requireTools, run, runOk, temporaryDirectory } from "../host/guest_files/tools.ts";
import { ok, STATE } from "./fixture.ts";

/** Does what debugfs's commands print. */
async function debugfs(disk: string, ...commands: string[]): Promise<string> {
  const stdin = new TextEncoder().encode(`${commands.join("\n")}\n`);
  const { code, stdout } = await run("debugfs", ["-f", "-", disk], { stdin });
  assert.equal(code, 0);
  return stdout.replaceAll(/^debugfs: .*\n/gm, "");
}

Deno.test("the recipe debian-bookworm gives a disk that holds what a default image must", async (t) => {
  await requireTools("e2fsck", "debugfs", "dpkg");
  await ok(["image", "pull", "debian-bookworm"]);
  const shown = JSON.parse(await ok(["image", "show", "debian-bookworm", "--json"])) as Record<
    string,
    unknown
  >;
  const disk = `${STATE}/images/${shown.id}/rootfs.ext4`;

  await t.step("the record says what is in it", () => {
    const { source, init, libc, hasSshServer, sizeBytes } = shown;
    assert.deepEqual({ source, init, libc, hasSshServer, sizeBytes }, {
      source: "recipe:debian-bookworm",
      init: "systemd",
      libc: "glibc",
      hasSshServer: true,
      sizeBytes: 8 * 2 ** 30,
    });
    assert.match(`${shown.digest}`, /^sha256:[0-9a-f]{64}$/);
    const contentBytes = Number(shown.contentBytes);
    assert.ok(contentBytes < 400_000_000, `${contentBytes} bytes are more than a default image may have`);
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
      /Mode:\s+0755[^]*Size: \d{8,}/,
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
