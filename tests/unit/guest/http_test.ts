import { deepEqual, equal, rejects } from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { ByteReader } from "../../../lib/guest/wire/byte_reader.ts";
import {
  bodyOf,
  ChunkBuffer,
  encodeChunk,
  encodeRequestHead,
  encodeResponseHead,
  LAST_CHUNK,
  readRequestHead,
  readResponseHead,
  readWhole,
} from "../../../lib/guest/wire/http.ts";
import { connectionOf, randomBytes, seededRandom } from "./memory_connection.ts";

const encoder = new TextEncoder();

function readerOf(text: string | Uint8Array, pieceBytes?: () => number): ByteReader {
  const bytes = typeof text === "string" ? encoder.encode(text) : text;
  return new ByteReader(connectionOf(bytes, pieceBytes));
}

function hasCode(code: string): (failure: unknown) => boolean {
  return (failure) => failure instanceof BangerError && failure.code === code;
}

Deno.test("readRequestHead() reads what encodeRequestHead() writes, in pieces of any size", async () => {
  const bytes = encodeRequestHead("POST", "/v1/connect?port=80", { "transfer-encoding": "chunked" });
  for (const size of [1, 2, 7, 1000]) {
    const head = await readRequestHead(readerOf(bytes, () => size));
    equal(head?.method, "POST");
    equal(head?.target, "/v1/connect?port=80");
    equal(head?.fields.get("transfer-encoding"), "chunked");
  }
});

Deno.test("readRequestHead() gives null where the connection ends before a request", async () => {
  equal(await readRequestHead(readerOf("")), null);
});

const BAD_REQUESTS: readonly (readonly [string, string, string])[] = [
  ["GET\r\n\r\n", "corrupt_data", "no target"],
  ["GET / HTTP/2.0\r\n\r\n", "corrupt_data", "another version"],
  ["GET http://x/ HTTP/1.1\r\n\r\n", "corrupt_data", "an absolute target"],
  ["GET / HTTP/1.1\r\nno colon\r\n\r\n", "corrupt_data", "a field without a colon"],
  ["GET / HTTP/1.1\r\nname : x\r\n\r\n", "corrupt_data", "a space before the colon"],
  ["GET / HTTP/1.1\r\n folded: x\r\n\r\n", "corrupt_data", "a folded line"],
  ["GET / HTTP/1.1\r\na: \0\r\n\r\n", "corrupt_data", "a NUL"],
  [`GET / HTTP/1.1\r\na: ${"x".repeat(9000)}\r\n\r\n`, "corrupt_data", "a line over 8 KiB"],
  [`GET / HTTP/1.1\r\n${"a: b\r\n".repeat(100)}\r\n`, "corrupt_data", "100 fields"],
  ["GET / HTTP/1.1\r\na: b\r\n", "connection_failed", "a head that is cut off"],
  ["GET / HT", "connection_failed", "a first line that is cut off"],
];

for (const [text, code, why] of BAD_REQUESTS) {
  Deno.test(`readRequestHead() refuses ${why}`, async () => {
    await rejects(readRequestHead(readerOf(text)), hasCode(code));
  });
}

Deno.test("readResponseHead() reads a status and refuses what is none", async () => {
  const head = await readResponseHead(readerOf(encodeResponseHead(204, {})));
  equal(head.status, 204);
  for (const text of ["HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 999 X\r\n\r\n", "\x1b[31m\r\n\r\n"]) {
    await rejects(readResponseHead(readerOf(text)), hasCode("corrupt_data"));
  }
  await rejects(readResponseHead(readerOf("")), hasCode("connection_failed"));
});

Deno.test("a chunked body comes out as it went in, whatever the pieces", async () => {
  const random = seededRandom(7);
  for (let round = 0; round < 30; round++) {
    const content = randomBytes(random, Math.floor(random() * 5000));
    const parts: Uint8Array[] = [];
    for (let at = 0; at < content.length;) {
      const part = content.subarray(at, at + 1 + Math.floor(random() * 700));
      parts.push(encodeChunk(part));
      at += part.length;
    }
    const wire = new Uint8Array([...parts.flatMap((part) => [...part]), ...LAST_CHUNK]);
    const reader = readerOf(wire, () => 1 + Math.floor(random() * 50));
    const body = bodyOf(new Map([["transfer-encoding", "chunked"]]), reader);
    deepEqual(await readWhole(body, 5000), content);
    equal(await body.read(), null, "it stays at its end");
  }
});

for (
  const [text, code, why] of [
    ["zz\r\n", "corrupt_data", "a size that is no number"],
    ["-1\r\n", "corrupt_data", "a negative size"],
    ["fffffffff\r\n", "corrupt_data", "a size over 32 bits"],
    ["1;ext=1\r\nx\r\n0\r\n\r\n", "corrupt_data", "an extension"],
    ["1\r\nxy\r\n0\r\n\r\n", "corrupt_data", "a chunk longer than its size"],
    ["5\r\nab", "connection_failed", "a chunk that is cut off"],
    ["1\r\nx\r\n", "connection_failed", "a body without its last chunk"],
  ] as const
) {
  Deno.test(`a chunked body with ${why} is refused`, async () => {
    const body = bodyOf(new Map([["transfer-encoding", "chunked"]]), readerOf(text));
    await rejects(readWhole(body, 100), hasCode(code));
  });
}

Deno.test("bodyOf() refuses a length that can be read in two ways", async () => {
  const both = new Map([["transfer-encoding", "chunked"], ["content-length", "3"]]);
  await rejects(async () => await bodyOf(both, readerOf("")).read(), hasCode("corrupt_data"));
  for (const length of ["3, 3", "-1", "+1", "1e3", "0x3", "99999999999999999999"]) {
    const fields = new Map([["content-length", length]]);
    await rejects(async () => await bodyOf(fields, readerOf("")).read(), hasCode("corrupt_data"));
  }
});

Deno.test("readWhole() stops at its cap", async () => {
  const body = bodyOf(new Map([["content-length", "11"]]), readerOf("hello world"));
  await rejects(readWhole(body, 10), hasCode("corrupt_data"));
});

Deno.test("a body with a length leaves what follows it", async () => {
  const reader = readerOf("hello world");
  const body = bodyOf(new Map([["content-length", "5"]]), reader);
  equal(new TextDecoder().decode(await readWhole(body, 100)), "hello");
  equal(await reader.readLine(100).catch((failure) => failure.code), "connection_failed");
});

Deno.test("ChunkBuffer makes the same chunks as encodeChunk()", () => {
  const buffer = new ChunkBuffer(300, 2);
  for (const count of [1, 13, 14, 15, 254, 300]) {
    const content = Uint8Array.from({ length: count }, (_, i) => i);
    buffer.space.set(content);
    const chunk = buffer.chunk(count, (into, at) => into.set([0xaa, 0xbb], at));
    deepEqual(chunk, encodeChunk(Uint8Array.of(0xaa, 0xbb, ...content)));
  }
});
