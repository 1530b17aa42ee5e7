import assert from "node:assert/strict";
import { concatBytes } from "../../../lib/base/bytes.ts";
import { bytesOf, type ByteString } from "../../../lib/base/tree.ts";
import { lookup } from "../../../lib/base/tree_paths.ts";
import { TarReader } from "../../../lib/oci/tar/reader.ts";
import {
  archive,
  base256,
  bytes,
  directory,
  END,
  file,
  gnuLong,
  hardLink,
  inPieces,
  member,
  octal,
  padded,
  pax,
  paxRecord,
  symlink,
} from "./archive.ts";
import { rejectsWith, replay, replayed } from "./replayed.ts";

/** The attributes and content of the one file `f` of an archive. */
async function theFile(...parts: Uint8Array[]) {
  const { root } = await replay([archive(...parts)]);
  const inode = lookup(root, "/f" as ByteString);
  assert.notEqual(inode, undefined);
  return inode!;
}

const rejects = (parts: Uint8Array[], text: RegExp) =>
  rejectsWith(replay([archive(...parts)]), "corrupt_data", text);

Deno.test("every format's plain entries are read, whatever the size of the input's chunks", async () => {
  const whole = archive(
    directory("v7/", { format: "v7", type: "\0" }),
    file("v7/f", "seven", { format: "v7" }),
    file("gnu", "g".repeat(3000), { format: "gnu" }),
    pax({ path: "p".repeat(150) }),
    file("short", "pax"),
    gnuLong("L", "l".repeat(150)),
    gnuLong("K", "k".repeat(150)),
    symlink("short", "short", { format: "gnu" }),
    member({ name: "name", patch: [{ at: 345, bytes: bytes("pre/fix") }], body: "prefixed" }),
    member({ name: "contiguous", type: "7", body: "seven" }),
  );
  const expected = {
    contiguous: "seven",
    gnu: "g".repeat(3000),
    ["l".repeat(150)]: `-> ${"k".repeat(150)}`,
    ["p".repeat(150)]: "pax",
    pre: "dir",
    "pre/fix": "dir",
    "pre/fix/name": "prefixed",
    v7: "dir",
    "v7/f": "seven",
  };
  assert.deepEqual(await replayed(whole), expected);
  for (const size of [1, 511, 512, 513, 4096, whole.length]) {
    const reader = new TarReader(inPieces(whole, size));
    const names: string[] = [];
    for (let entry = await reader.nextEntry(); entry !== undefined; entry = await reader.nextEntry()) {
      names.push(entry.path);
    }
    assert.equal(names.length, 7, `in chunks of ${size}`);
  }
});

Deno.test("D1 devices and FIFOs become inodes with their numbers", async () => {
  const tree = await replayed(
    archive(
      member({ name: "null", type: "3", major: 1, minor: 3 }),
      member({ name: "sda", type: "4", major: 0xfff, minor: 0xfffff }),
      member({ name: "pipe", type: "6", major: 7, minor: 7 }),
    ),
  );
  assert.deepEqual(tree, {
    null: "character-device 1:3",
    pipe: "fifo 0:0",
    sda: "block-device 4095:1048575",
  });
});

for (const [major, minor] of [[0x1000, 0], [0, 0x100000]] as const) {
  Deno.test(`D1 a device ${major}:${minor} is refused`, async () => {
    await rejects([member({ name: "d", type: "3", major, minor })], /device's number is out of/);
  });
}

Deno.test("D2 setuid, sticky, capabilities, ACLs and other attributes are kept", async () => {
  const capability = Uint8Array.from([1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  const { attributes } = await theFile(
    pax({
      "SCHILY.xattr.security.capability": capability,
      "SCHILY.xattr.user.n=a": "=\n\0",
      "LIBARCHIVE.xattr.user.%e2%82%ac": btoa("euro").replace(/=+$/, ""),
      "LIBARCHIVE.xattr.security.capability": btoa("other"),
    }),
    file("f", "", { mode: 0o7755 }),
  );
  assert.equal(attributes.mode, 0o7755);
  // A name ends at the first "=": pax has no way to write one in it.
  assert.deepEqual([...attributes.xattrs.keys()].sort(), [
    "security.capability",
    "user.n",
    "user.\u00e2\u0082\u00ac",
  ]);
  assert.deepEqual(attributes.xattrs.get("security.capability"), capability);
  assert.deepEqual(attributes.xattrs.get("user.n"), bytes("a==\n\0"));
  assert.deepEqual(attributes.xattrs.get("user.\u00e2\u0082\u00ac"), bytes("euro"));
});

Deno.test("D2 extended attributes that Linux could not store are refused", async () => {
  await rejects([pax({ [`SCHILY.xattr.${"n".repeat(256)}`]: "v" }), file("f")], /name is empty or too long/);
  await rejects([pax({ "SCHILY.xattr.": "v" }), file("f")], /name is empty or too long/);
  await rejects([pax({ "SCHILY.xattr.user.v": "v".repeat(65_537) }), file("f")], /larger than 64 KiB/);
});

for (
  const [why, header, records, expected] of [
    ["in a header", { uid: 65_536, gid: 2_097_151 }, {}, [65_536, 2_097_151]],
    ["in pax", {}, { uid: "2147483648", gid: "4294967294" }, [2 ** 31, 2 ** 32 - 2]],
  ] as const
) {
  Deno.test(`D3 large ids ${why} are exact`, async () => {
    const { attributes } = await theFile(pax({ ...records, comment: "x" }), file("f", "", header));
    assert.deepEqual([attributes.uid, attributes.gid], expected);
  });
}

Deno.test("D3 large ids in base-256 are exact, ids no file can have are refused", async () => {
  const withUid = (value: bigint) => file("f", "", { patch: [{ at: 108, bytes: base256(value, 8) }] });
  assert.equal((await theFile(withUid(0xfffffffen))).attributes.uid, 0xfffffffe);
  await rejects([withUid(0xffffffffn)], /uid is out of range/);
  await rejects([withUid(-1n)], /uid is out of range/);
  await rejects([pax({ gid: "4294967296" }), file("f")], /gid is out of range/);
  await rejects([pax({ gid: "-1" }), file("f")], /gid is out of range/);
});

for (
  const [text, seconds, nanoseconds] of [
    ["1700000000.123456789", 1_700_000_000, 123_456_789],
    ["1700000000.5", 1_700_000_000, 500_000_000],
    ["1700000000.1234567899", 1_700_000_000, 123_456_789],
    ["17179869183", 17_179_869_183, 0],
    ["-1.5", -2, 500_000_000],
    ["-1", -1, 0],
    ["-0.000000001", -1, 999_999_999],
    ["0", 0, 0],
  ] as const
) {
  Deno.test(`D3 the time ${text} is exact`, async () => {
    const { attributes } = await theFile(pax({ mtime: text }), file("f", "", { mtime: 5 }));
    assert.deepEqual(attributes.mtime, { seconds, nanoseconds });
  });
}

Deno.test("D3 negative and huge times in base-256", async () => {
  const at = (value: bigint) => file("f", "", { patch: [{ at: 136, bytes: base256(value, 12) }] });
  assert.equal((await theFile(at(-62_135_596_800n))).attributes.mtime.seconds, -62_135_596_800);
  assert.equal((await theFile(at(2n ** 40n))).attributes.mtime.seconds, 2 ** 40);
  await rejects([at(2n ** 60n)], /mtime field is out of range/);
  await rejects([pax({ mtime: "99999999999999999999" }), file("f")], /mtime is no time/);
  await rejects([pax({ mtime: "soon" }), file("f")], /mtime is no time/);
});

Deno.test("P1 a pax size moves the cursor, not the header's", async () => {
  // Who trusts the header sees the body's second half as an entry.
  const hidden = file("hidden", "smuggled");
  const body = concatBytes([padded(bytes("x".repeat(512))), hidden]);
  const tree = await replayed(
    archive(pax({ size: String(body.length) }), file("f", "", { body, size: 512 })),
  );
  assert.deepEqual(Object.keys(tree), ["f"]);
});

Deno.test("P1 a pax size works where the header's own is zero", async () => {
  const tree = await replayed(
    archive(pax({ size: "5" }), member({ name: "f", body: "12345", size: 0 }), file("g")),
  );
  assert.deepEqual(tree, { f: "12345", g: "" });
});

Deno.test("P2 a pax header before GNU's long names applies to the file", async () => {
  const name = "l".repeat(200);
  const tree = await replayed(
    archive(
      pax({ size: "3", uid: "9" }),
      gnuLong("L", name),
      member({ name: "s", body: "abc", size: 0 }),
      file("g"),
    ),
  );
  assert.deepEqual(tree, { g: "", [name]: "abc" });
});

for (
  const [why, body, text] of [
    ["no length", "path=x\n", /no length/],
    ["a length of zero", "0 path=x\n", /length is wrong/],
    ["a length too large", "99 path=x\n", /length is wrong/],
    ["a length too small", "5 path=x\n", /length is wrong/],
    ["a huge length", "99999999999 path=x\n", /no length/],
    ["a negative length", "-9 path=x\n", /no length/],
    ["no equals sign", "9 pathxx\n", /length is wrong/],
    ["no newline", "10 path=xy", /length is wrong/],
    ["an empty key", "5 =x\n", /no valid key/],
    ["a NUL in a path", "12 path=a\0b\n", /contains a NUL/],
    ["a NUL in a link", "16 linkpath=a\0b\n", /contains a NUL/],
    ["a size that is no number", "11 size=x1\n", /size is no number/],
    ["a negative size", "11 size=-1\n", /size is negative/],
    ["a size beyond 2^53", "25 size=9007199254740993\n", /size field is out of range/],
  ] as const
) {
  Deno.test(`P3 a pax header with ${why} is refused`, async () => {
    await rejects([member({ name: "x", type: "x", body }), file("f")], text);
  });
}

Deno.test("P3 keys such as __proto__ are data", async () => {
  const inode = await theFile(
    pax({ ["__proto__"]: "x", constructor: "y", "SCHILY.xattr.__proto__": "z" }),
    file("f"),
  );
  assert.deepEqual([...inode.attributes.xattrs.keys()], ["__proto__"]);
});

Deno.test("P3 a global header holds until overridden, and never names all entries", async () => {
  const { root } = await replay([
    archive(
      pax({ uid: "7", comment: "git" }, "g"),
      file("a"),
      pax({ uid: "8" }),
      file("b"),
      pax({ uid: "" }),
      file("c", "", { uid: 9 }),
    ),
  ]);
  const uids = ["a", "b", "c"].map((name) => lookup(root, name as ByteString)?.attributes.uid);
  assert.deepEqual(uids, [7, 8, 9]);
  for (const key of ["path", "linkpath", "size"]) {
    await rejects([pax({ [key]: "1" }, "g"), file("a")], new RegExp(`sets ${key} for all entries`));
  }
});

Deno.test("P3 two headers of one kind for one entry are refused", async () => {
  await rejects([pax({ path: "a" }), pax({ path: "b" }), file("f")], /two pax headers/);
  await rejects([gnuLong("L", "a"), gnuLong("L", "b"), file("f")], /two long names/);
  await rejects([gnuLong("K", "a"), gnuLong("K", "b"), symlink("f", "x")], /two long link names/);
  await rejects([pax({ path: "a" }), pax({ uid: "1" }, "g"), file("f")], /global header stands between/);
  await rejects([file("f"), pax({ path: "a" })], /ends after an extended header/);
});

for (const type of ["x", "g", "L", "K"]) {
  Deno.test(`P4 an extended header "${type}" that claims gigabytes is refused before they are taken`, async () => {
    await rejects([member({ name: "x", type, size: 2 ** 32 })], /larger than 1 MiB/);
  });
}

Deno.test("P6 sizes that make no sense are refused", async () => {
  const sized = (field: Uint8Array) => member({ name: "f", patch: [{ at: 124, bytes: field }] });
  await rejects([sized(base256(-1n, 12))], /size is negative/);
  await rejects([sized(base256(2n ** 54n, 12))], /size field is out of range/);
  await rejects([sized(bytes("12x4567\0"))], /size field is no octal number/);
  await rejects([sized(bytes("0000000009\0"))], /size field is no octal number/);
  await rejects([sized(bytes("-0000000001\0"))], /size field is no octal number/);
});

Deno.test("P6 base-256 sizes and the paddings that writers use are read", async () => {
  const sized = (field: Uint8Array) =>
    archive(member({ name: "f", body: "12345", patch: [{ at: 124, bytes: field }] }), file("g"));
  for (
    const field of [
      base256(5n, 12),
      bytes("          5 "),
      bytes("5\0\0\0\0\0\0\0\0\0\0\0"),
      bytes("000000000005"),
      octal(5, 12),
    ]
  ) {
    assert.deepEqual(await replayed(sized(field)), { f: "12345", g: "" });
  }
});

Deno.test("P6 a wrong checksum is refused, a signed one is taken", async () => {
  await rejects([file("f", "", { checksum: 1234 })], /checksum is wrong/);
  const name = Uint8Array.from([0xff, 0x66]);
  const unsigned = member({ name }).subarray(148, 156);
  const sum = parseInt(new TextDecoder().decode(unsigned), 8);
  const { root } = await replay([archive(member({ name, checksum: sum - 256 }))]);
  assert.equal(root.entries.size, 1);
});

Deno.test("P10 an archive without its end blocks is complete", async () => {
  assert.deepEqual(await replayed(file("f", "x")), { f: "x" });
  assert.deepEqual(await replayed(concatBytes([file("f", "x"), new Uint8Array(512)])), { f: "x" });
  assert.deepEqual(await replayed(file("f", "x").subarray(0, 513)), { f: "x" }, "without the last padding");
  assert.deepEqual(await replayed(new Uint8Array(0)), {});
});

Deno.test("P10 what follows the end blocks is ignored, but read", async () => {
  let isDrained = false;
  async function* input() {
    yield concatBytes([file("f", "x"), END, file("g", "y")]);
    yield bytes("junk");
    isDrained = await Promise.resolve(true);
  }
  const reader = new TarReader(input());
  assert.equal((await reader.nextEntry())?.path, "f");
  assert.equal(await reader.nextEntry(), undefined);
  assert.equal(await reader.nextEntry(), undefined);
  assert(isDrained);
});

Deno.test("P10 a cut archive is refused", async () => {
  const whole = file("f", "x".repeat(600));
  await rejectsWith(replay([whole.subarray(0, 1000)]), "corrupt_data", /ends inside a file's content/);
  await rejectsWith(replay([whole.subarray(0, 300)]), "corrupt_data", /ends inside a header/);
  const long = gnuLong("L", "n".repeat(700));
  await rejectsWith(replay([long.subarray(0, 1000)]), "corrupt_data", /ends inside an extended header/);
  const broken = concatBytes([file("f"), new Uint8Array(512), file("g")]);
  await rejectsWith(replay([broken]), "corrupt_data", /zeros is followed by something else/);
});

Deno.test("content of anything but a file is not taken for an entry's", async () => {
  const tree = await replayed(
    archive(
      file("f", "f"),
      hardLink("h", "f", { size: 1 }),
      symlink("s", "f", { size: 9 }),
      directory("d", { size: 4096 }),
    ),
  );
  assert.deepEqual(Object.keys(tree), ["d", "f", "h", "s"]);
});

Deno.test("an unknown type of entry is refused", async () => {
  await rejects([member({ name: "v", type: "V" })], /unknown type "V"/);
  await rejects([member({ name: "m", type: "M" })], /unknown type "M"/);
});

Deno.test("names stay byte-exact in headers, pax and GNU's long names", async () => {
  const raw = Uint8Array.from([0xff, 0xfe, 0x80, 0xc3]);
  for (
    const parts of [
      [member({ name: raw })],
      [pax({ path: raw }), file("f")],
      [gnuLong("L", raw), file("f")],
    ]
  ) {
    const { root } = await replay([archive(...parts)]);
    assert.deepEqual(bytesOf([...root.entries.keys()][0]!), raw);
  }
  assert.equal(paxRecord("a", "b").length, 6);
});
