import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import {
  type ByteString,
  byteStringOfText,
  type DirectoryInode,
  emptyDirectory,
  type Inode,
  rootOwned,
} from "../../../lib/base/tree.ts";
import {
  cleanPath,
  ensureDirectory,
  findDirectory,
  insertFile,
  insertSymlink,
  lookup,
  removePath,
  storeBytes,
  walkTree,
} from "../../../lib/base/tree_paths.ts";
import { MemorySink, shown, textOf } from "./replayed.ts";

const path = byteStringOfText;
const EMPTY = { sizeBytes: 0, token: new Uint8Array(0) };

/** etc/passwd, bin -> usr/bin, usr/bin/sh, and links that loop, dangle and leave. */
function sample(): DirectoryInode {
  const root = emptyDirectory();
  insertFile(root, path("etc/passwd"), EMPTY);
  insertFile(root, path("usr/bin/sh"), EMPTY);
  insertSymlink(root, path("bin"), path("usr/bin"));
  insertSymlink(root, path("usr/up"), path("../../../etc"));
  insertSymlink(root, path("absolute"), path("/usr/bin/../up"));
  insertSymlink(root, path("loop"), path("loop"));
  insertSymlink(root, path("dangling"), path("nowhere/deep"));
  return root;
}

for (
  const [text, expected] of [
    ["", []],
    ["/", []],
    ["a", ["a"]],
    ["/a//b/./c/", ["a", "b", "c"]],
    ["../../a", ["a"]],
    ["a/../../b", ["b"]],
    ["...", ["..."]],
  ] as const
) {
  Deno.test(`cleanPath(${JSON.stringify(text)})`, () => assert.deepEqual(cleanPath(path(text)), expected));
}

for (
  const [text, kind] of [
    ["/", "directory"],
    ["..", "directory"],
    ["etc/passwd", "file"],
    ["/bin/sh", "file"],
    ["bin", "directory"],
    ["usr/up/passwd", "file"],
    ["absolute/passwd", "file"],
    ["bin/../../etc/passwd", "file"],
    ["etc/passwd/", undefined],
    ["etc/passwd/..", undefined],
    ["etc/none", undefined],
    ["none/../etc", undefined],
    ["dangling", undefined],
  ] as const
) {
  Deno.test(`lookup(${JSON.stringify(text)})`, () => assert.equal(lookup(sample(), path(text))?.kind, kind));
}

Deno.test("lookup follows the last symlink only where it should", () => {
  const root = sample();
  assert.equal(lookup(root, path("bin"), { followLast: false })?.kind, "symlink");
  assert.equal(lookup(root, path("bin/"), { followLast: false })?.kind, "directory");
  assert.equal(lookup(root, path("loop"), { followLast: false })?.kind, "symlink");
  assert.throws(
    () => lookup(root, path("loop")),
    (failure) => failure instanceof BangerError && failure.code === "corrupt_data",
  );
});

Deno.test("what is put somewhere goes through symlinks, stays inside, and replaces what is there", () => {
  const root = sample();
  insertFile(root, path("/absolute/group"), EMPTY);
  insertFile(root, path("dangling/f"), EMPTY);
  insertFile(root, path("bin"), EMPTY);
  const tree = shown(root);
  assert.equal(tree["etc/group"], "");
  assert.equal(tree["nowhere/deep/f"], "");
  assert.equal(tree["bin"], "");
  assert.throws(() => insertFile(root, path("/"), EMPTY), /Cannot replace the root/);
  assert.throws(() => insertFile(root, path("etc/passwd/x"), EMPTY), /"passwd" is no directory/);
  assert.throws(() => insertFile(root, path("loop/x"), EMPTY), /more than 40 symbolic links/);
});

Deno.test("directories are made with their attributes, and keep those that they have", () => {
  const root = sample();
  const made = ensureDirectory(root, path("var/lib/banger"), rootOwned(0o700));
  assert.equal(lookup(root, path("var"))?.attributes.mode, 0o700);
  assert.equal(ensureDirectory(root, path("var/lib/banger"), rootOwned(0o755)), made);
  assert.equal(made.attributes.mode, 0o700);
  const other = ensureDirectory(root, path("var/lib/other"), rootOwned(0o700));
  other.attributes.mode = 0;
  assert.equal(made.attributes.mode, 0o700, "two directories share their attributes");
  assert.equal(ensureDirectory(root, path("/bin")), findDirectory(root, cleanPath(path("usr/bin"))));
});

Deno.test("removePath removes the symlink itself, and says whether there was something", () => {
  const root = sample();
  assert.equal(removePath(root, path("bin")), true);
  assert.equal(removePath(root, path("bin")), false);
  assert.equal(removePath(root, path("/")), false);
  assert.equal(lookup(root, path("usr/bin/sh"))?.kind, "file");
});

Deno.test("walkTree goes in byte order, directories before what is in them", () => {
  const root = emptyDirectory();
  for (const name of ["b/x", "b-", "b/a", "a", "B"]) insertFile(root, path(name), EMPTY);
  insertFile(root, "\u00ff" as ByteString, EMPTY);
  assert.deepEqual([...walkTree(root)].map((entry) => entry.path), [
    "/",
    "/B",
    "/a",
    "/b",
    "/b/a",
    "/b/x",
    "/b-",
    "/\u00ff",
  ]);
});

Deno.test("storeBytes gives small content to a sink", async () => {
  const sink = new MemorySink();
  const content = await storeBytes(sink, new TextEncoder().encode("text"));
  const inode: Inode = { kind: "file", attributes: rootOwned(0o644), content };
  assert.equal(textOf(inode), "text");
  const failing = {
    begin: () => ({ ...sink.begin(), write: () => Promise.reject(new Error("full")) }),
  };
  await assert.rejects(storeBytes(failing, new Uint8Array(1)), /full/);
  assert.equal(sink.aborted, 1);
});
