import assert from "node:assert/strict";
import {
  byteStringOfText,
  type DirectoryInode,
  emptyDirectory,
  type Timestamp,
} from "../../../lib/base/tree.ts";
import { insertFile, insertSymlink, lookup } from "../../../lib/base/tree_paths.ts";
import { FIRST_BOOT, SSH_SERVER_SETTINGS } from "../../../lib/guest/files/first_boot.ts";
import { finishDebianTree } from "../../../lib/image/recipes/debian_boot.ts";
import { MemorySink, textAt } from "../guest_files/memory_sink.ts";

const BUILT: Timestamp = { seconds: 1_748_736_000, nanoseconds: 0 };
const UNITS = "/etc/systemd/system";

async function finished(): Promise<DirectoryInode> {
  const root = emptyDirectory();
  const empty = { sizeBytes: 0, token: [] };
  insertFile(root, byteStringOfText("/usr/lib/binfmt.d/python3.11.conf"), empty);
  insertFile(root, byteStringOfText("/etc/apt/apt.conf.d/99mmdebstrap"), empty);
  insertFile(root, byteStringOfText("/etc/machine-id"), empty);
  for (const unit of ["apt-daily.timer", "systemd-tmpfiles-clean.timer"]) {
    insertSymlink(
      root,
      byteStringOfText(`${UNITS}/timers.target.wants/${unit}`),
      byteStringOfText(`/lib/${unit}`),
    );
  }
  await finishDebianTree(root, new MemorySink(), BUILT);
  return root;
}

function at(root: DirectoryInode, path: string) {
  return lookup(root, byteStringOfText(path), { followLast: false });
}

function linkAt(root: DirectoryInode, path: string): string | undefined {
  const inode = at(root, path);
  return inode?.kind === "symlink" ? inode.target : undefined;
}

Deno.test("finishDebianTree() disables timers as systemctl would, and keeps the others", async () => {
  const root = await finished();
  assert.equal(at(root, `${UNITS}/timers.target.wants/apt-daily.timer`), undefined);
  assert.notEqual(at(root, `${UNITS}/timers.target.wants/systemd-tmpfiles-clean.timer`), undefined);
});

Deno.test("finishDebianTree() takes units out of the boot without masking the units themselves", async () => {
  const root = await finished();
  assert.equal(linkAt(root, `${UNITS}/multi-user.target.wants/systemd-logind.service`), "/dev/null");
  assert.equal(linkAt(root, `${UNITS}/sysinit.target.wants/systemd-repart.service`), "/dev/null");
  assert.equal(at(root, `${UNITS}/systemd-logind.service`), undefined);
  assert.equal(linkAt(root, "/etc/systemd/system-generators/systemd-getty-generator"), "/dev/null");
  assert.equal(linkAt(root, `${UNITS}/default.target`), "/lib/systemd/system/multi-user.target");
});

Deno.test("finishDebianTree() leaves an empty machine-id, so that no two machines share one", async () => {
  assert.equal(textAt(await finished(), "/etc/machine-id"), "");
});

Deno.test("finishDebianTree() removes what only the build needed", async () => {
  const root = await finished();
  assert.equal(at(root, "/etc/apt/apt.conf.d/99mmdebstrap"), undefined);
  assert.equal(at(root, "/usr/lib/binfmt.d/python3.11.conf"), undefined);
});

Deno.test("finishDebianTree() dates its marks after /usr, so that systemd sees no update", async () => {
  const root = await finished();
  for (const path of ["/etc/.updated", "/var/.updated"]) {
    assert.deepEqual(at(root, path)?.attributes.mtime, { seconds: BUILT.seconds + 1, nanoseconds: 0 });
    assert.match(textAt(root, path), /^TIMESTAMP_NSEC=1748736001000000000$/m);
  }
});

Deno.test("finishDebianTree() gives sshd the very settings that first-boot looks for", async () => {
  const settings = textAt(await finished(), "/etc/ssh/sshd_config.d/10-banger.conf");
  assert.equal(settings, SSH_SERVER_SETTINGS);
  assert.ok(FIRST_BOOT.includes(settings));
});
