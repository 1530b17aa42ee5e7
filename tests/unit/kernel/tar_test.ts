import assert from "node:assert/strict";
import { concatBytes } from "../../../lib/base/bytes.ts";
import { ByteReader } from "../../../lib/kernel/byte_reader.ts";
import { readTar } from "../../../lib/kernel/tar.ts";
import { tar, type TarMember } from "./fixtures.ts";
import { chunksOf, isBanger } from "./support.ts";

async function entriesOf(bytes: Uint8Array): Promise<[string, string, string][]> {
  const found: [string, string, string][] = [];
  for await (const entry of readTar(new ByteReader(chunksOf(bytes), "the test"), "the test")) {
    found.push([entry.path, entry.kind, new TextDecoder().decode(await entry.read(1_000_000))]);
  }
  return found;
}

function pax(records: Readonly<Record<string, string>>): TarMember {
  const content = Object.entries(records).map(([key, value]) => {
    const rest = ` ${key}=${value}\n`;
    let length = rest.length + 1;
    while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
    return `${length}${rest}`;
  }).join("");
  return { path: "PaxHeader", type: "x", content };
}

Deno.test("files, directories and links come in order, contents exact", async () => {
  const bytes = tar([
    { path: "./", type: "5" },
    { path: "./a", content: "1".repeat(512) },
    { path: "./b", content: "2".repeat(513) },
    { path: "./link", type: "2" },
    { path: "./fifo", type: "6" },
  ]);
  assert.deepEqual(await entriesOf(bytes), [
    ["", "directory", ""],
    ["a", "file", "1".repeat(512)],
    ["b", "file", "2".repeat(513)],
    ["link", "symlink", ""],
    ["fifo", "other", ""],
  ]);
});

Deno.test("contents that nobody reads are skipped", async () => {
  const bytes = tar([{ path: "a", content: "x".repeat(3000) }, { path: "b" }]);
  const paths: string[] = [];
  for await (const entry of readTar(new ByteReader(chunksOf(bytes), "t"), "t")) paths.push(entry.path);
  assert.deepEqual(paths, ["a", "b"]);
});

Deno.test("long names: GNU and PAX", async () => {
  const long = `./lib/modules/${"d/".repeat(100)}x.ko`;
  const bytes = tar([
    { path: "././@LongLink", type: "L", content: `${long}\0` },
    { path: "cut", content: "gnu" },
    pax({ path: long, mtime: "1.5" }),
    { path: "cut", content: "pax" },
    { path: "next", content: "own" },
  ]);
  assert.deepEqual(await entriesOf(bytes), [
    [long.slice(2), "file", "gnu"],
    [long.slice(2), "file", "pax"],
    ["next", "file", "own"],
  ]);
});

Deno.test("a PAX size moves the cursor", async () => { // row P1
  const bytes = tar([pax({ size: "600" }), {
    path: "a",
    content: "z".repeat(600),
    sizeField: "00000000000\0",
  }]);
  assert.deepEqual(await entriesOf(bytes), [["a", "file", "z".repeat(600)]]);
});

Deno.test("an archive without end blocks is whole", async () => { // row P10
  const bytes = tar([{ path: "a", content: "b" }]);
  assert.equal((await entriesOf(bytes.subarray(0, bytes.length - 1024))).length, 1);
});

const wrongSum = tar([{ path: "a" }]);
wrongSum[0] = 0x62;
for (
  const [name, bytes] of [
    ["a name that leads outside", tar([{ path: "./lib/../../etc/passwd" }])], // row A1
    ["a body that is cut off", tar([{ path: "a", content: "x".repeat(2000) }]).subarray(0, 1000)],
    ["a header that is cut off", tar([{ path: "a" }]).subarray(0, 300)],
    ["a wrong checksum", wrongSum], // row P6
    ["a size that is not octal", tar([{ path: "a", sizeField: "9z000000000\0" }])],
    ["a size out of range", tar([{ path: "a", sizeField: "\xff".repeat(12) }])],
    ["a long name of gigabytes", tar([{ path: "a", type: "L", sizeField: "77777777777\0" }])], // row P4
    ["a malformed PAX record", tar([{ path: "p", type: "x", content: "99 path=a\n" }])], // row P3
    ["a NUL in a PAX path", tar([pax({ path: "a\0b" }), { path: "a" }])],
  ] as const
) {
  Deno.test(`${name} is refused`, async () => {
    await assert.rejects(entriesOf(bytes), isBanger("corrupt_data"));
  });
}

Deno.test("reading more than allowed is refused before it is read", async () => {
  const bytes = concatBytes([tar([{ path: "a", content: "x".repeat(2000) }])]);
  const entries = readTar(new ByteReader(chunksOf(bytes), "t"), "t");
  const { value } = await entries.next();
  assert.ok(value);
  await assert.rejects(value.read(1999), isBanger("corrupt_data", /2000 bytes/));
  await entries.return(undefined);
});
