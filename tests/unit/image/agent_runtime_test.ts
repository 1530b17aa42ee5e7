import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { byteStringOfText, type DirectoryInode, emptyDirectory } from "../../../lib/base/tree.ts";
import { insertFile, insertSymlink } from "../../../lib/base/tree_paths.ts";
import { C_LIBRARIES, COMPILER_LIBRARY } from "../../../lib/guest/files/agent_runtime.ts";
import { findAgentRuntime } from "../../../lib/image/agent_runtime.ts";
import { detectTraits } from "../../../lib/image/detect.ts";

const LOADER = "/lib64/ld-linux-x86-64.so.2";
const EM_X86_64 = 62;
const EM_386 = 3;
const LIBRARIES = [...C_LIBRARIES, COMPILER_LIBRARY];

function elf(machine: number, interpreter?: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(400);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1]);
  view.setUint16(18, machine, true);
  if (interpreter === undefined) return bytes;
  view.setBigUint64(32, 64n, true);
  view.setUint16(56, 1, true);
  view.setUint32(64, 3, true);
  view.setBigUint64(72, 200n, true);
  view.setBigUint64(96, BigInt(interpreter.length + 1), true);
  bytes.set(new TextEncoder().encode(`${interpreter}\0`), 200);
  return bytes;
}

const AGENT = { open: () => ReadableStream.from([elf(EM_X86_64, LOADER)]) };

/** The files of a host, by path. */
function hostWith(present: Readonly<Record<string, number>>) {
  return {
    readBytes: (path: string) => {
      const machine = present[path];
      if (machine === undefined) return Promise.reject(new BangerError("not_found", `Cannot read ${path}`));
      return Promise.resolve(elf(machine));
    },
  };
}

const FEDORA = hostWith(Object.fromEntries([
  [LOADER, EM_X86_64],
  ...LIBRARIES.map((name) => [`/lib64/${name}`, EM_X86_64]),
  ...LIBRARIES.map((name) => [`/lib/${name}`, EM_386]),
]));

function image(entries: readonly string[]): DirectoryInode {
  const root = emptyDirectory();
  for (const entry of entries) {
    const [path, target] = entry.split(" -> ").map(byteStringOfText);
    if (target !== undefined) insertSymlink(root, path!, target);
    else insertFile(root, path!, { sizeBytes: 0, token: undefined });
  }
  return root;
}

const runtimeFor = (root: DirectoryInode, host = FEDORA) =>
  findAgentRuntime(host, root, detectTraits(root), AGENT);

const WHOLE = [LOADER, ...LIBRARIES.map((name) => `/lib64/${name}`)];
const without = (name: string) => WHOLE.filter((path) => !path.endsWith(name));

const CASES: [what: string, entries: string[], getsRuntime: boolean][] = [
  ["an image with all of glibc", WHOLE, false],
  ["an image of one program", ["/app"], true],
  ["musl", ["/lib/ld-musl-x86_64.so.1"], true],
  ["musl with a compatibility layer", ["/lib/ld-musl-x86_64.so.1", ...WHOLE], true],
  ["glibc without libgcc", without("libgcc_s.so.1"), true],
  ["glibc without its loader", without("ld-linux-x86-64.so.2"), true],
  ["glibc 2.26", [...without("libc.so.6"), "/lib64/libc-2.26.so", "/lib64/libc.so.6 -> libc-2.26.so"], true],
  ["glibc 2.27", [...without("libc.so.6"), "/lib64/libc-2.27.so", "/lib64/libc.so.6 -> libc-2.27.so"], false],
  ["glibc 2.9", [...without("libc.so.6"), "/lib64/libc-2.9.so", "/lib64/libc.so.6 -> libc-2.9.so"], true],
];
for (const [what, entries, getsRuntime] of CASES) {
  Deno.test(`findAgentRuntime(): ${what} ${getsRuntime ? "gets" : "needs no"} runtime`, async () => {
    const runtime = await runtimeFor(image(entries));
    assert.deepEqual(runtime?.libraries.map(({ name }) => name), getsRuntime ? LIBRARIES : undefined);
  });
}

Deno.test("findAgentRuntime() gives nothing to an agent that needs no loader", async () => {
  const agent = { open: () => ReadableStream.from([elf(EM_X86_64)]) };
  assert.equal(await findAgentRuntime(hostWith({}), emptyDirectory(), { libc: "none" }, agent), undefined);
});

Deno.test("findAgentRuntime() says what this host lacks", async () => {
  const debian = { [LOADER]: EM_X86_64 };
  const lib = (name: string) => `/usr/lib/x86_64-linux-gnu/${name}`;
  for (
    const [present, missing] of [
      [{}, LOADER],
      [{ [LOADER]: EM_386 }, LOADER],
      [debian, "libc.so.6"],
      [{ ...debian, [lib("libc.so.6")]: EM_X86_64 }, "libm.so.6"],
      [
        { ...debian, ...Object.fromEntries(C_LIBRARIES.map((name) => [lib(name), EM_X86_64])) },
        "libgcc_s.so.1",
      ],
    ] as const
  ) {
    await assert.rejects(
      runtimeFor(image(["/app"]), hostWith(present)),
      (thrown) =>
        thrown instanceof BangerError && thrown.code === "host_unsupported" &&
        thrown.message.includes(missing),
    );
  }
});
