import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { collectSyncedFiles, MAX_SYNCED_BYTES, MAX_SYNCED_ENTRIES } from "../../../lib/vm/file_sync.ts";

const { files } = realHost();

async function withDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "banger-sync-" });
  try {
    await body(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

function isTooMuch(thrown: unknown): boolean {
  return thrown instanceof BangerError && thrown.code === "invalid_argument" &&
    /more than/.test(thrown.message);
}

Deno.test("collectSyncedFiles() takes files and trees with their modes, and leaves nested symlinks out", async () => {
  await withDirectory(async (directory) => {
    await Deno.mkdir(`${directory}/tool/deep`, { recursive: true });
    await Deno.chmod(`${directory}/tool`, 0o700);
    await Deno.writeTextFile(`${directory}/tool/deep/key`, "secret");
    await Deno.chmod(`${directory}/tool/deep/key`, 0o600);
    await Deno.chmod(`${directory}/tool/deep`, 0o755);
    await Deno.writeTextFile(`${directory}/run`, "x");
    await Deno.chmod(`${directory}/run`, 0o4755);
    await Deno.symlink("/etc/shadow", `${directory}/tool/link`);
    await Deno.symlink("tool", `${directory}/linked`);
    const { entries, notes } = await collectSyncedFiles(files, [
      { hostPath: `${directory}/linked`, guestPath: "/root/.tool" },
      { hostPath: `${directory}/run`, guestPath: "/usr/local/bin/run" },
    ]);
    const content = (text: string) => new TextEncoder().encode(text);
    assert.deepEqual(entries, [
      { kind: "directory", path: "/root/.tool", mode: 0o700 },
      { kind: "directory", path: "/root/.tool/deep", mode: 0o755 },
      { kind: "file", path: "/root/.tool/deep/key", mode: 0o600, content: content("secret") },
      { kind: "file", path: "/usr/local/bin/run", mode: 0o755, content: content("x") },
    ]);
    assert.equal(notes.length, 1);
    assert.match(notes[0]!, /tool\/link: it is a symlink/);
  });
});

Deno.test("collectSyncedFiles() tells what is not there, unless nobody misses it", async () => {
  await withDirectory(async (directory) => {
    const absent = { hostPath: `${directory}/absent`, guestPath: "/root/absent" };
    const { entries, notes } = await collectSyncedFiles(files, [absent, { ...absent, isOptional: true }]);
    assert.deepEqual(entries, []);
    assert.deepEqual(notes, [`file_sync leaves out ${directory}/absent: it is not there`]);
  });
});

Deno.test("collectSyncedFiles() does not wait for a pipe, and passes over what is no file", async () => {
  await withDirectory(async (directory) => {
    await new Deno.Command("mkfifo", { args: [`${directory}/pipe`] }).output();
    const { entries, notes } = await collectSyncedFiles(files, [{
      hostPath: directory,
      guestPath: "/root/x",
    }]);
    assert.equal(entries.length, 1);
    assert.match(notes[0]!, /pipe: it is neither file nor directory/);
  });
});

Deno.test("collectSyncedFiles() refuses more than a guest's memory takes, before it is read", async () => {
  await withDirectory(async (directory) => {
    await Deno.writeTextFile(`${directory}/large`, "");
    await Deno.truncate(`${directory}/large`, MAX_SYNCED_BYTES + 1);
    const sync = { hostPath: `${directory}/large`, guestPath: "/root/large" };
    await assert.rejects(collectSyncedFiles(files, [sync]), isTooMuch);
    await Deno.truncate(`${directory}/large`, MAX_SYNCED_BYTES);
    assert.equal((await collectSyncedFiles(files, [sync])).entries.length, 1);
    await assert.rejects(
      collectSyncedFiles(files, [sync, { hostPath: "/etc/passwd", guestPath: "/x" }]),
      isTooMuch,
    );
  });
});

Deno.test("collectSyncedFiles() refuses more entries than it should have", async () => {
  const names = Array.from({ length: MAX_SYNCED_ENTRIES }, (_, index) => String(index));
  const many = {
    realPath: (path: string) => Promise.resolve(path),
    list: () => Promise.resolve(names),
    stat: (path: string) =>
      Promise.resolve({ kind: path === "/many" ? "directory" : "file", mode: 0o644 } as never),
    readBytes: () => Promise.resolve(new Uint8Array()),
  };
  await assert.rejects(collectSyncedFiles(many, [{ hostPath: "/many", guestPath: "/many" }]), isTooMuch);
});
