import assert from "node:assert/strict";
import { concatBytes } from "../../../lib/base/bytes.ts";
import { archive, bytes, file, member, octal, padded, pax, paxRecord } from "./archive.ts";
import { rejectsWith, replay, replayed } from "./replayed.ts";

const rejects = (parts: Uint8Array[], text: RegExp) =>
  rejectsWith(replay([archive(...parts)]), "corrupt_data", text);

/** Two pieces, "ab" at 3 and "cd" at 70,000, in a file of 70,010 bytes. */
const EXPECTED = `\0\0\0ab${"\0".repeat(69_995)}cd${"\0".repeat(8)}`;

/** An old GNU sparse header; pieces as offset and size. */
function oldGnu(
  pieces: readonly (readonly [number, number])[],
  realSize: number,
  body: string,
  isExtended = false,
) {
  const patch = pieces.flatMap(([offset, size], i) => [
    { at: 386 + 24 * i, bytes: octal(offset, 12) },
    { at: 398 + 24 * i, bytes: octal(size, 12) },
  ]);
  patch.push({ at: 483, bytes: octal(realSize, 12) });
  if (isExtended) patch.push({ at: 482, bytes: Uint8Array.of(1) });
  return member({ name: "f", type: "S", format: "gnu", body, patch });
}

Deno.test("P5 GNU's old sparse format", async () => {
  const tree = await replayed(
    archive(oldGnu([[3, 2], [70_000, 2], [70_010, 0]], 70_010, "abcd"), file("g", "g")),
  );
  assert.equal(tree["f"], EXPECTED);
  assert.equal(tree["g"], "g");
});

Deno.test("P5 GNU's old sparse format with a continued map", async () => {
  const header = oldGnu([[0, 1], [2, 1], [4, 1], [6, 1]], 10, "", true).subarray(0, 512);
  const more = new Uint8Array(512);
  more.set(octal(8, 12), 0);
  more.set(octal(1, 12), 12);
  // The header's size counts the content only, which follows the continued map.
  const sized = member({ name: "x", body: "abcde" });
  header.set(sized.subarray(124, 136), 124);
  header.fill(0x20, 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.set(bytes(`${sum.toString(8).padStart(6, "0")}\0 `), 148);
  const tree = await replayed(archive(header, more, padded(bytes("abcde")), file("g", "g")));
  assert.deepEqual(tree, { f: "a\0b\0c\0d\0e\0", g: "g" });
});

for (
  const [version, records] of [
    ["0.1", { "GNU.sparse.map": "3,2,70000,2", "GNU.sparse.size": "70010", "GNU.sparse.name": "real" }],
    ["0.1 with major and minor", {
      "GNU.sparse.major": "0",
      "GNU.sparse.minor": "1",
      "GNU.sparse.map": "3,2,70000,2,70010,0",
      "GNU.sparse.size": "70010",
      "GNU.sparse.name": "real",
    }],
  ] as const
) {
  Deno.test(`P5 pax sparse ${version}`, async () => {
    const tree = await replayed(archive(pax(records), file("GNUSparseFile.0/real", "abcd"), file("g", "g")));
    assert.deepEqual(tree, { g: "g", real: EXPECTED });
  });
}

Deno.test("P5 pax sparse 0.0 repeats keys", async () => {
  const records = [["numblocks", "2"], ["offset", "3"], ["numbytes", "2"], ["offset", "70000"], [
    "numbytes",
    "2",
  ]];
  const body = concatBytes([
    paxRecord("GNU.sparse.size", "70010"),
    ...records.map(([key, value]) => paxRecord(`GNU.sparse.${key}`, value!)),
  ]);
  const tree = await replayed(
    archive(member({ name: "x", type: "x", body }), file("f", "abcd"), file("g", "g")),
  );
  assert.deepEqual(tree, { f: EXPECTED, g: "g" });
});

const VERSION_1 = {
  "GNU.sparse.major": "1",
  "GNU.sparse.minor": "0",
  "GNU.sparse.name": "real",
  "GNU.sparse.realsize": "70010",
};
const withMap = (map: string, content: string) => concatBytes([padded(bytes(map)), bytes(content)]);

Deno.test("P5 pax sparse 1.0 has its map in front of the content", async () => {
  const body = withMap("2\n3\n2\n70000\n2\n", "abcd");
  const tree = await replayed(archive(pax(VERSION_1), member({ name: "x", body }), file("g", "g")));
  assert.deepEqual(tree, { g: "g", real: EXPECTED });
});

for (
  const [why, map, text] of [
    ["out of order", "2\n70000\n2\n3\n2\n", /out of order/],
    ["overlapping", "2\n3\n2\n4\n2\n", /out of order/],
    ["beyond the file", "2\n3\n2\n70009\n2\n", /goes beyond its file/],
    ["not fitting the content", "1\n3\n2\n", /does not fit the content/],
    ["with a negative piece", "1\n-3\n4\n", /out of order/],
    ["no number", "x\n", /is no number/],
    ["with too many pieces", "99999999\n", /too many pieces/],
    ["longer than its entry", `200\n${"1\n".repeat(20)}`, /longer than its entry/],
  ] as const
) {
  Deno.test(`P5 a sparse map ${why} is refused`, async () => {
    await rejects([pax(VERSION_1), member({ name: "x", body: withMap(map, "abcd") })], text);
  });
}

Deno.test("P5 sparse entries that lack something or have an unknown version are refused", async () => {
  const body = "abcd";
  await rejects([pax({ "GNU.sparse.map": "3,2,5,2" }), file("f", body)], /lacks its map or size/);
  await rejects(
    [pax({ "GNU.sparse.map": "3,2,5", "GNU.sparse.size": "9" }), file("f", body)],
    /half a piece/,
  );
  await rejects(
    [pax({ "GNU.sparse.major": "2", "GNU.sparse.minor": "0" }), file("f", body)],
    /unknown version/,
  );
  await rejects(
    [
      pax({ ...VERSION_1, "GNU.sparse.realsize": "" }),
      member({ name: "x", body: withMap("1\n0\n4\n", body) }),
    ],
    /realsize is no number/,
  );
  await rejects([member({ name: "f", type: "S", body })], /not in GNU's format/);
});

Deno.test("P5 holes count against the limit of content", async () => {
  const huge = archive(oldGnu([[0, 4]], 2 ** 32, "abcd"));
  await rejectsWith(replay([huge], { maxContentBytes: 2 ** 31 }), "no_space", /bytes of content/);
});
