import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { byteStringOfText, emptyDirectory, EPOCH, rootOwned } from "../../../lib/base/tree.ts";
import {
  insert,
  insertFile,
  insertSymlink,
  lookup,
  storeBytes,
  walkTree,
} from "../../../lib/base/tree_paths.ts";
import { AGENT_PATH, GUEST_TEXTS, injectGuestFiles } from "../../../lib/guest/files/inject.ts";
import { MemorySink, textAt } from "./memory_sink.ts";

const path = byteStringOfText;
const AGENT = {
  open: async function* () {
    yield new TextEncoder().encode("agent ");
    await Promise.resolve();
    yield new TextEncoder().encode("binary");
  },
};

Deno.test("injectGuestFiles() puts every file of the guest contract into an empty image", async () => {
  const root = emptyDirectory();
  await injectGuestFiles(root, new MemorySink(), AGENT);
  const listed = [...walkTree(root)].filter(({ inode }) => inode.kind !== "directory").map((
    { path, inode },
  ) =>
    `${inode.attributes.mode.toString(8)} ${path}${inode.kind === "symlink" ? ` -> ${inode.target}` : ""}`
  );
  assert.deepEqual(listed, [
    "644 /etc/modules-load.d/banger-vsock.conf",
    "644 /etc/systemd/system/banger-first-boot.service",
    "644 /etc/systemd/system/banger-network.service",
    "644 /etc/systemd/system/banger-vsock-agent.service",
    ...["first-boot", "network", "vsock-agent"].map((name) =>
      `777 /etc/systemd/system/multi-user.target.wants/banger-${name}.service -> /etc/systemd/system/banger-${name}.service`
    ),
    "755 /usr/local/bin/banger-vsock-agent",
    "755 /usr/local/libexec/banger-agent-start",
    "755 /usr/local/libexec/banger-first-boot",
    "755 /usr/local/libexec/banger-network-bootstrap",
    "644 /var/lib/banger/first-boot-pending",
  ]);
  assert.equal(textAt(root, AGENT_PATH), "agent binary");
  for (const { path, text } of GUEST_TEXTS) assert.equal(textAt(root, path), text);
});

Deno.test("injectGuestFiles() adds only root's files dated 1970, so that images stay reproducible", async () => {
  const root = emptyDirectory();
  await injectGuestFiles(root, new MemorySink(), AGENT);
  for (const { path, inode } of walkTree(root)) {
    const { uid, gid, mtime, xattrs } = inode.attributes;
    assert.deepEqual(
      { uid, gid, mtime, xattrs: xattrs.size },
      { uid: 0, gid: 0, mtime: EPOCH, xattrs: 0 },
      path,
    );
  }
});

Deno.test("injectGuestFiles() makes the mount points that an image of one program lacks", async () => {
  const root = emptyDirectory();
  await injectGuestFiles(root, new MemorySink(), AGENT);
  const modes = ["dev", "proc", "root", "run", "sys", "tmp"].map((name) =>
    root.entries.get(path(name))?.attributes.mode.toString(8)
  );
  assert.deepEqual(modes, ["755", "555", "700", "755", "555", "1777"]);
});

Deno.test("injectGuestFiles() leaves a directory that exists as it is", async () => {
  const root = emptyDirectory();
  insert(root, path("/root"), { ...emptyDirectory(), attributes: { ...rootOwned(0o750), uid: 7 } });
  await injectGuestFiles(root, new MemorySink(), AGENT);
  const inode = lookup(root, path("/root"));
  assert.equal(inode?.attributes.mode, 0o750);
  assert.equal(inode?.attributes.uid, 7);
});

Deno.test("A2 injectGuestFiles() follows the image's symlinks inside the image", async () => {
  const root = emptyDirectory();
  insert(root, path("/data/local"), emptyDirectory());
  insertSymlink(root, path("/usr/local"), path("/data/local"));
  insertSymlink(root, path("/etc"), path("../../../../../system/etc"));
  await injectGuestFiles(root, new MemorySink(), AGENT);
  assert.equal(lookup(root, path("/data/local/bin/banger-vsock-agent"))?.kind, "file");
  assert.equal(lookup(root, path("/system/etc/systemd/system/banger-network.service"))?.kind, "file");
});

Deno.test("injectGuestFiles() replaces what has a name of ours, and never writes through a symlink there", async () => {
  const root = emptyDirectory();
  const sink = new MemorySink();
  insertFile(root, path("/etc/passwd"), await storeBytes(sink, new TextEncoder().encode("root")));
  insertSymlink(root, path(AGENT_PATH), path("/etc/passwd"));
  await injectGuestFiles(root, sink, AGENT);
  assert.equal(textAt(root, "/etc/passwd"), "root");
  assert.equal(lookup(root, path(AGENT_PATH), { followLast: false })?.kind, "file");
});

Deno.test("injectGuestFiles() refuses an image with a file where a directory must be", async () => {
  const root = emptyDirectory();
  const sink = new MemorySink();
  insertFile(root, path("/etc/systemd"), await storeBytes(sink, new Uint8Array(1)));
  await assert.rejects(
    injectGuestFiles(root, sink, AGENT),
    (thrown) => thrown instanceof BangerError && thrown.code === "corrupt_data",
  );
});

Deno.test("injectGuestFiles() gives back what it wrote of an agent that cannot be read", async () => {
  const sink = new MemorySink();
  const broken = {
    open: async function* () {
      yield new Uint8Array(10);
      await Promise.resolve();
      throw new Error("unreadable");
    },
  };
  await assert.rejects(injectGuestFiles(emptyDirectory(), sink, broken), /unreadable/);
  assert.equal(sink.aborted, 1);
});
