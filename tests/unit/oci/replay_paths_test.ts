import assert from "node:assert/strict";
import type { ByteString } from "../../../lib/base/tree.ts";
import { lookup, walkTree } from "../../../lib/base/tree_paths.ts";
import { TreeBuilder } from "../../../lib/oci/replay/tree_builder.ts";
import { TarReader } from "../../../lib/oci/tar/reader.ts";
import { archive, directory, file, hardLink, inPieces, member, symlink } from "./archive.ts";
import { MemorySink, rejectsWith, replay, replayed } from "./replayed.ts";

Deno.test("A1 names with .. and absolute names stay below the root", async () => {
  const tree = await replayed(archive(file("../x", "1"), file("/y", "2"), file("a/../../z", "3")));
  assert.deepEqual(tree, { x: "1", y: "2", z: "3" });
});

Deno.test("A2 entries go through symlinks, inside the image only", async () => {
  const tree = await replayed(
    archive(
      directory("usr"),
      directory("usr/bin"),
      symlink("bin", "usr/bin"),
      symlink("out", "../../../../etc"),
      symlink("abs", "/usr/../../opt"),
      directory("etc"),
      directory("opt"),
      file("bin/sh", "shell"),
      file("out/passwd", "root"),
      file("abs/tool", "t"),
    ),
  );
  assert.deepEqual(tree, {
    abs: "-> /usr/../../opt",
    bin: "-> usr/bin",
    etc: "dir",
    "etc/passwd": "root",
    opt: "dir",
    "opt/tool": "t",
    out: "-> ../../../../etc",
    usr: "dir",
    "usr/bin": "dir",
    "usr/bin/sh": "shell",
  });
});

Deno.test("A2 attributes of a directory behind a symlink are set inside the image", async () => {
  const { root } = await replay([
    archive(directory("d"), symlink("l", "/d"), directory("l/sub", { mode: 0o700, uid: 5 })),
  ]);
  const sub = lookup(root, "/d/sub" as ByteString);
  assert.equal(sub?.attributes.mode, 0o700);
  assert.equal(sub?.attributes.uid, 5);
});

Deno.test("A2 whiteouts through a symlink of a lower layer, as usrmerge needs", async () => {
  const tree = await replayed(
    archive(directory("usr"), directory("usr/bin"), symlink("bin", "usr/bin"), file("usr/bin/old", "o")),
    archive(file("bin/.wh.old"), file("bin/new", "n")),
  );
  assert.deepEqual(tree, { bin: "-> usr/bin", usr: "dir", "usr/bin": "dir", "usr/bin/new": "n" });
});

Deno.test("A2 the target of a dangling symlink is made when something goes through it", async () => {
  const tree = await replayed(archive(symlink("lib", "usr/lib/../lib64"), file("lib/a", "a")));
  assert.deepEqual(tree, { lib: "-> usr/lib/../lib64", usr: "dir", "usr/lib64": "dir", "usr/lib64/a": "a" });
});

Deno.test("A2 a symlink is resolved anew after it was replaced", async () => {
  const tree = await replayed(
    archive(
      directory("a"),
      directory("b"),
      symlink("l", "a"),
      file("l/1", "1"),
      symlink("l", "b"),
      file("l/2", "2"),
    ),
  );
  assert.deepEqual(tree, { a: "dir", "a/1": "1", b: "dir", "b/2": "2", l: "-> b" });
});

Deno.test("A3 a directory entry replaces a symlink of a lower layer", async () => {
  const tree = await replayed(
    archive(directory("real"), symlink("d", "real")),
    archive(directory("d"), file("d/x", "x")),
  );
  assert.deepEqual(tree, { d: "dir", "d/x": "x", real: "dir" });
});

Deno.test("A3 a file replaces a directory with all below it, and a directory a file", async () => {
  const tree = await replayed(
    archive(directory("d"), file("d/x", "x"), file("f", "f")),
    archive(file("d", "now a file"), directory("f"), file("f/y", "y")),
  );
  assert.deepEqual(tree, { d: "now a file", f: "dir", "f/y": "y" });
});

Deno.test("A3 a directory over a directory replaces attributes and keeps what is in it", async () => {
  const { root } = await replay([
    archive(directory("d", { mode: 0o755, uid: 1 }), file("d/x", "x")),
    archive(directory("d", { mode: 0o1777, uid: 2, mtime: 99 })),
  ]);
  const d = lookup(root, "/d" as ByteString);
  assert.deepEqual([d?.attributes.mode, d?.attributes.uid, d?.attributes.mtime.seconds], [0o1777, 2, 99]);
  assert.notEqual(lookup(root, "/d/x" as ByteString), undefined);
});

for (const name of [".", "/", "..", "./", "a/.."]) {
  Deno.test(`A4 a symlink named ${name} is refused`, async () => {
    await rejectsWith(replay([archive(symlink(name, "/etc"))]), "corrupt_data", /root must be a directory/);
  });
}

Deno.test("A4 an empty name is refused", async () => {
  await rejectsWith(replay([archive(symlink("", "/etc"))]), "corrupt_data", /empty name/);
});

Deno.test("A4 an empty symlink target is refused", async () => {
  await rejectsWith(replay([archive(symlink("l", ""))]), "corrupt_data", /empty name or link target/);
});

Deno.test("A4 an entry for the root itself sets its attributes", async () => {
  const { root } = await replay([archive(directory("./", { mode: 0o700, uid: 3 }))]);
  assert.deepEqual([root.attributes.mode, root.attributes.uid], [0o700, 3]);
});

for (
  const [target, why] of [
    ["../../f", "with .."],
    ["/f", "absolute"],
    ["/../f", "absolute with .."],
    ["l/f", "through a symlink"],
    ["l2/l/f", "through two symlinks"],
    ["./f", "with ."],
    ["d/../f", "with .. after a directory"],
  ] as const
) {
  Deno.test(`A5 a hard link target ${why} is found inside the image`, async () => {
    const tree = await replayed(
      archive(
        file("f", "data"),
        directory("d"),
        symlink("l", "../.."),
        symlink("l2", "/d/.."),
        hardLink("h", target),
      ),
    );
    assert.equal(tree["f"], "data");
    assert.equal(tree["h"], "= f");
  });
}

Deno.test("A6 a hard link to a symlink links the symlink itself", async () => {
  const { root } = await replay([
    archive(
      file("secret", "s", { mode: 0o600 }),
      symlink("l", "secret"),
      hardLink("h", "l", { mode: 0o777, uid: 7 }),
    ),
  ]);
  assert.equal(root.entries.get("h" as ByteString), root.entries.get("l" as ByteString));
  const secret = lookup(root, "/secret" as ByteString);
  assert.deepEqual([secret?.attributes.mode, secret?.attributes.uid], [0o600, 0]);
});

for (
  const [name, target, text] of [
    ["h", "missing", /target "missing" is missing/],
    ["h", "d/missing", /is missing/],
    ["h", "none/missing", /is missing/],
    ["h", "h", /is missing/],
    ["f", "f", /hard link to itself/],
    ["d/../f", "/f", /hard link to itself/],
    ["h", "d", /directory cannot have hard links/],
    ["h", "/", /directory cannot have hard links/],
  ] as const
) {
  Deno.test(`A7 a hard link from ${name} to ${target} is refused`, async () => {
    const bad = archive(directory("d"), file("f", "f"), hardLink(name, target));
    await rejectsWith(replay([bad]), "corrupt_data", text);
  });
}

Deno.test("A8 a hard link to a file of a lower layer survives the whiteout of the original", async () => {
  const tree = await replayed(
    archive(file("original", "data")),
    archive(hardLink("survivor", "original"), file(".wh.original")),
  );
  assert.deepEqual(tree, { survivor: "data" });
});

Deno.test("A8 overwriting one of two hard links in an upper layer leaves the other", async () => {
  const tree = await replayed(archive(file("a", "old"), hardLink("b", "a")), archive(file("a", "new")));
  assert.deepEqual(tree, { a: "new", b: "old" });
});

Deno.test("A9 a symlink loop ends in an error", async () => {
  const loop = archive(symlink("a", "b"), symlink("b", "a"), file("a/x", "x"));
  await rejectsWith(replay([loop]), "corrupt_data", /more than 40 symbolic links/);
});

Deno.test("A9 forty links are followed and forty-one are not", async () => {
  const chain = (length: number) => {
    const links = Array.from({ length }, (_, i) => symlink(`l${i + 1}`, i === 0 ? "d" : `l${i}`));
    return archive(directory("d"), ...links, file(`l${length}/x`, "x"));
  };
  assert.equal((await replayed(chain(40)))["d/x"], "x");
  await rejectsWith(replay([chain(41)]), "corrupt_data", /more than 40 symbolic links/);
});

Deno.test("A9 a path through a file is refused", async () => {
  await rejectsWith(
    replay([archive(file("f", "f"), file("f/x", "x"))]),
    "corrupt_data",
    /"f" is no directory/,
  );
});

Deno.test("P7 the last of two entries of one name counts", async () => {
  const tree = await replayed(archive(file("x", "1"), symlink("y", "x"), file("x", "2"), file("y", "3")));
  assert.deepEqual(tree, { x: "2", y: "3" });
});

Deno.test("P9 a name of 256 bytes is refused, one of 255 is kept", async () => {
  const long = "n".repeat(255);
  const withPrefix = (name: string) => archive(member({ name: "x", patch: [] }), ...longNamed(name));
  assert.equal((await replayed(withPrefix(long)))[long], "x");
  await rejectsWith(replay([withPrefix(`${long}n`)]), "corrupt_data", /longer than 255 bytes/);
});

function longNamed(name: string): Uint8Array[] {
  const body = new TextEncoder().encode(`${name}\0`);
  return [member({ name: "././@LongLink", type: "L", body, format: "gnu" }), file("short", "x")];
}

Deno.test("P9 newlines, quotes and control characters in names are kept", async () => {
  const names = ["a\nb", 'c"d', "e\x1b[31mf", " g ", "h\\i", "-rf"];
  const tree = await replayed(archive(...names.map((name) => file(name, name))));
  assert.deepEqual(Object.keys(tree).sort(), [...names].sort());
});

Deno.test("P9 two thousand directories deep needs no call stack", async () => {
  const path = `${"d/".repeat(2000)}f`;
  const { root } = await replay([archive(...longNamed(path))]);
  assert.notEqual(lookup(root, path as ByteString), undefined);
  await rejectsWith(replay([archive(...longNamed("d/".repeat(2100)))]), "corrupt_data", /longer than 4095/);
});

Deno.test("P9 twelve thousand directories deep, by links to links, is kept without a call stack", async () => {
  const steps = 2000;
  const parts: Uint8Array[] = [];
  // Each link leads to the end of the directories that were made through the one before.
  for (let i = 0; i < 6; i++) {
    const start = i === 0 ? "" : `l${i}/`;
    parts.push(...longNamed(`${start}${"d/".repeat(steps)}f`));
    const target = new TextEncoder().encode(`${start}${"d/".repeat(steps)}\0`);
    parts.push(member({ name: "././@LongLink", type: "K", body: target, format: "gnu" }));
    parts.push(symlink(`l${i + 1}`, "long"));
  }
  const { root } = await replay([archive(...parts)]);
  let depth = 0;
  for (const { path } of walkTree(root)) depth = Math.max(depth, path.split("/").length);
  assert.equal(depth, 6 * steps + 2);
});

Deno.test("P8 names that are no UTF-8, normal forms and cases stay distinct", async () => {
  const names = [[0xff], [0xfe], [0xc3, 0xa9], [0x65, 0xcc, 0x81], [0x41], [0x61], [0xc3]];
  const { root } = await replay([archive(...names.map((name) => member({ name: Uint8Array.from(name) })))]);
  assert.deepEqual([...root.entries.keys()].sort(), names.map((name) => String.fromCharCode(...name)).sort());
});

Deno.test("parents without an entry of their own are root's, 0755", async () => {
  const { root } = await replay([archive(file("a/b/c", "c", { uid: 5 }))]);
  const b = lookup(root, "/a/b" as ByteString);
  assert.deepEqual([b?.kind, b?.attributes.mode, b?.attributes.uid], ["directory", 0o755, 0]);
});

Deno.test("limits end an archive that would fill memory or disk", async () => {
  const many = archive(...Array.from({ length: 20 }, (_, i) => file(`f${i}`, "0123456789")));
  await rejectsWith(replay([many], { maxEntries: 19 }), "no_space", /more than 19 entries/);
  await rejectsWith(replay([many], { maxContentBytes: 199 }), "no_space", /more than 199 bytes of content/);
  await rejectsWith(replay([many], { maxMetadataBytes: 40 }), "no_space", /bytes of names/);
  assert.equal((await replay([many], { maxEntries: 20, maxContentBytes: 200 })).builder.totals.entries, 20);
});

Deno.test("a failure inside a file's content gives the content back", async () => {
  const whole = archive(file("f", "x".repeat(5000)));
  const sink = new MemorySink();
  const cut = new TarReader(inPieces(whole.subarray(0, 2000), 300));
  await rejectsWith(new TreeBuilder(sink).applyLayer(cut), "corrupt_data", /ends inside a file's content/);
  assert.equal(sink.aborted, 1);
});
