import assert from "node:assert/strict";
import { byteStringOfText, type DirectoryInode, emptyDirectory } from "../../../lib/base/tree.ts";
import { lookup } from "../../../lib/base/tree_paths.ts";
import { type AgentRuntime, RUNTIME_LOADER_PATH } from "../../../lib/guest/files/agent_runtime.ts";
import { findInterpreter, withInterpreter } from "../../../lib/guest/files/elf_interpreter.ts";
import { AGENT_PATH, injectGuestFiles } from "../../../lib/guest/files/inject.ts";
import { MemorySink, textAt } from "./memory_sink.ts";

const LOADER = "/lib64/ld-linux-x86-64.so.2";
const EM_X86_64 = 62;

/** A header, one program header for the loader, its path at 200, and something behind it. */
function executable(loader = LOADER): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(1000).fill(0x55, 300);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1]);
  view.setUint16(18, EM_X86_64, true);
  view.setBigUint64(32, 64n, true);
  view.setUint16(56, 1, true);
  view.setUint32(64, 3, true);
  view.setBigUint64(72, 200n, true);
  view.setBigUint64(96, BigInt(loader.length + 1), true);
  bytes.set(new TextEncoder().encode(`${loader}\0`), 200);
  return bytes;
}

/** In pieces of a size, as no reader may rely on. */
async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) {
    await Promise.resolve();
    yield bytes.subarray(at, at + size);
  }
}

async function gathered(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  return new Uint8Array(await new Response(ReadableStream.from(chunks)).arrayBuffer());
}

for (const size of [1, 7, 203, 1000]) {
  Deno.test(`another loader: nothing else changes, read in pieces of ${size}`, async () => {
    const bytes = executable();
    const interpreter = await findInterpreter(pieces(bytes, size));
    assert.deepEqual(interpreter, { machine: EM_X86_64, path: LOADER, offsetBytes: 200, roomBytes: 28 });
    const changed = await gathered(withInterpreter(pieces(bytes, size), interpreter!, "/a/ld"));
    const expected = bytes.slice();
    expected.set(new TextEncoder().encode("/a/ld".padEnd(28, "\0")), 200);
    assert.deepEqual(changed, expected);
    assert.equal((await findInterpreter(pieces(changed, size)))?.path, "/a/ld");
  });
}

Deno.test("findInterpreter() finds none in what needs no loader, or is cut short", async () => {
  const isStatic = executable();
  isStatic[64] = 1;
  const elf32 = executable();
  elf32[4] = 1;
  const outside = executable();
  new DataView(outside.buffer).setBigUint64(72, 999n, true);
  for (
    const bytes of [
      isStatic,
      elf32,
      outside,
      executable().slice(0, 90),
      new Uint8Array(),
      new Uint8Array(500),
    ]
  ) {
    assert.equal(await findInterpreter(pieces(bytes, 100)), undefined);
  }
});

Deno.test("withInterpreter() refuses a path that has no room, and the real one has", async () => {
  const interpreter = (await findInterpreter(pieces(executable("/lib/ld-linux-aarch64.so.1"), 1000)))!;
  assert.equal(
    (await gathered(withInterpreter(pieces(executable(), 1000), interpreter, RUNTIME_LOADER_PATH))).length,
    1000,
  );
  await assert.rejects(
    gathered(withInterpreter(pieces(executable(), 1000), interpreter, "/lib/ld-linux-aarch64.so.11")),
    /the path is too long/,
  );
});

const RUNTIME: AgentRuntime = {
  loader: new TextEncoder().encode("loader"),
  libraries: [{ name: "libc.so.6", bytes: new TextEncoder().encode("libc") }],
};
const mode = (root: DirectoryInode, path: string) =>
  lookup(root, byteStringOfText(path))?.attributes.mode.toString(8);

Deno.test("injectGuestFiles() puts a C library in a directory of its own, and a wrapper in the agent's place", async () => {
  const root = emptyDirectory();
  const agent = { open: () => pieces(executable(), 1000) };
  await injectGuestFiles(root, new MemorySink(), agent, RUNTIME);
  assert.equal(textAt(root, "/usr/local/lib/banger/ld"), "loader");
  assert.equal(textAt(root, "/usr/local/lib/banger/libc.so.6"), "libc");
  assert.match(textAt(root, "/usr/local/lib/banger/agent"), /\/usr\/local\/lib\/banger\/ld\0/);
  assert.match(
    textAt(root, AGENT_PATH),
    /^#!\/run\/banger\/bin\/busybox sh\n[^]*exec \/usr\/local\/lib\/banger\/agent "\$@"\n$/,
  );
  for (const path of [AGENT_PATH, "/usr/local/lib/banger/agent", "/usr/local/lib/banger/ld"]) {
    assert.equal(mode(root, path), "755");
  }
  assert.equal(lookup(root, byteStringOfText("/lib64")), undefined);
});

Deno.test("injectGuestFiles() leaves an agent alone that needs no loader", async () => {
  const root = emptyDirectory();
  const agent = { open: () => pieces(new TextEncoder().encode("static"), 3) };
  await injectGuestFiles(root, new MemorySink(), agent, RUNTIME);
  assert.equal(textAt(root, AGENT_PATH), "static");
  assert.equal(lookup(root, byteStringOfText("/usr/local/lib/banger")), undefined);
});
