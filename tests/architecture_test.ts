import assert from "node:assert/strict";
import { dirname, join, relative } from "node:path";

/** The table of docs/architecture.md: which room may import which. `npm` and `node:` modules stand beside it. */
const ROOMS: Readonly<Record<string, readonly string[]>> = {
  "lib/base": [],
  "lib/sys": ["lib/base"],
  "lib/oci": ["lib/base"],
  "lib/ext4": ["lib/base"],
  "lib/kernel": ["lib/base", "lib/oci"],
  "lib/vmm": ["lib/base"],
  "lib/guest": ["lib/base"],
  "lib/store": ["lib/base"],
  "lib/image": ["lib/base", "lib/oci", "lib/ext4", "lib/kernel", "lib/guest", "lib/store"],
  "lib/net": ["lib/base"],
  "lib/vm": ["lib/base", "lib/vmm", "lib/guest", "lib/kernel", "lib/ext4", "lib/store", "lib/net"],
  "lib/api": ["lib/base"],
  "lib/doctor": ["lib/base", "lib/store", "lib/vmm"],
  "lib/support": ["lib/base", "lib/store", "lib/guest"],
  "lib/copy": ["lib/base", "lib/oci", "lib/workspace"],
  "lib/config": ["lib/base", "lib/api"],
  "lib/workspace": ["lib/base", "lib/oci", "lib/guest"],
  "lib/cli": ["lib/base", "lib/api", "lib/config", "lib/workspace", "lib/net", "lib/copy"],
  "lib/daemon": [
    "lib/base",
    "lib/sys",
    "lib/api",
    "lib/config",
    "lib/store",
    "lib/image",
    "lib/kernel",
    "lib/oci",
    "lib/vm",
    "lib/vmm",
    "lib/guest",
    "lib/ext4",
    "lib/doctor",
    "lib/net",
  ],
  "agent": ["lib/base", "lib/guest/wire"],
};
/** They wire the rooms together. */
const ENTRIES = ["main.ts", "daemon.ts"];
/** Only these touch the outside world. */
const OUTSIDE_ROOMS = ["lib/sys", "agent", ...ENTRIES];
const OUTSIDE_MODULES = [
  "node:fs",
  "node:fs/promises",
  "node:child_process",
  "node:net",
  "node:http",
  "node:https",
  "node:dgram",
];
const OUTSIDE_NAMES = /\bDeno\.|\bconsole\.(log|error|warn|info|debug)\(|\bnew WebSocket\(/;
/** The global one: not a method, and not in a file that declares or takes its own. */
const GLOBAL_FETCH = /(?:await|return|=|=>) fetch\(/;
const OWN_FETCH = /function fetch\(|\bfetch\??:|const fetch\b/;

const root = join(dirname(new URL(import.meta.url).pathname), "..");

async function* sources(directory: string): AsyncGenerator<string> {
  for await (const entry of Deno.readDir(join(root, directory))) {
    const path = `${directory}/${entry.name}`;
    if (entry.isDirectory) yield* sources(path);
    else if (entry.name.endsWith(".ts")) yield path;
  }
}

async function allSources(): Promise<string[]> {
  const found = [...ENTRIES];
  for (const directory of ["lib", "agent"]) {
    for await (const path of sources(directory)) found.push(path);
  }
  return found.sort();
}

function roomOf(path: string): string | undefined {
  return Object.keys(ROOMS).find((room) => path.startsWith(`${room}/`));
}

function withoutComments(code: string): string {
  return code.replaceAll(/\/\*[\s\S]*?\*\//g, "").replaceAll(/(^|\s)\/\/.*$/gm, "");
}

function importsOf(code: string): string[] {
  const matches = withoutComments(code).matchAll(/(?:\bfrom|\bimport|\bimport\()\s*"([^"]+)"/g);
  return [...matches].map((match) => match[1]!);
}

/** Whether `room` may import the file at `target`. */
function mayImport(room: string, target: string): boolean {
  if (target.startsWith(`${room}/`)) return true;
  return ROOMS[room]!.some((allowed) => target.startsWith(`${allowed}/`));
}

Deno.test("every room imports only what the table allows", async () => {
  const paths = await allSources();
  assert.ok(paths.length > 50, "the search for sources finds them");
  const refused: string[] = [];
  for (const path of paths) {
    const room = roomOf(path);
    if (!room) {
      assert.ok(ENTRIES.includes(path), `${path} is in no room`);
      continue;
    }
    for (const target of importsOf(await Deno.readTextFile(join(root, path)))) {
      if (!target.startsWith(".")) continue;
      const resolved = relative(root, join(root, dirname(path), target));
      if (!mayImport(room, resolved)) refused.push(`${path} imports ${resolved}`);
    }
  }
  assert.deepEqual(refused, []);
});

Deno.test("only lib/sys, the agent and the entries touch the outside world", async () => {
  const found: string[] = [];
  for (const path of await allSources()) {
    if (OUTSIDE_ROOMS.some((room) => path === room || path.startsWith(`${room}/`))) continue;
    const code = await Deno.readTextFile(join(root, path));
    for (const target of importsOf(code)) {
      if (OUTSIDE_MODULES.includes(target)) found.push(`${path} imports ${target}`);
    }
    const plain = withoutComments(code).replaceAll(/`[^`]*`|"[^"\n]*"/g, '""');
    const used = OUTSIDE_NAMES.exec(plain) ?? (OWN_FETCH.test(plain) ? null : GLOBAL_FETCH.exec(plain));
    if (used) found.push(`${path} uses ${used[0]}`);
  }
  assert.deepEqual(found, []);
});

/** What is loaded with a file: not what is a type only, and not what is imported when it is needed. */
function staticImportsOf(code: string): string[] {
  const found = withoutComments(code).matchAll(/^(?:import|export) (?!type\b)[^;"=]*?\bfrom "([^"]+)"/gm);
  return [...found].map((match) => match[1]!);
}

Deno.test("what every command loads has no schemas", async () => {
  const seen = new Set<string>();
  const packages = new Set<string>();
  const load = async (path: string) => {
    if (seen.has(path)) return;
    seen.add(path);
    for (const target of staticImportsOf(await Deno.readTextFile(join(root, path)))) {
      if (target.startsWith(".")) await load(relative(root, join(root, dirname(path), target)));
      else packages.add(target);
    }
  };
  await load("main.ts");
  assert.ok(seen.has("lib/cli/commands/vm_run.ts"), "the search finds the commands");
  // Each start of an executable reads all of what it loads: zod would double it.
  assert.deepEqual([...packages].filter((name) => !name.startsWith("node:")).sort(), [
    "commander",
    "hono/client",
  ]);
});

/** Where else a processor may be named: what others call it, and messages. */
const NAME_PROCESSORS = [
  "lib/base/architecture.ts",
  "lib/oci/model/platform.ts", // names that people and registries use
  "lib/kernel/vmlinux.ts", // two formats of kernels
  "lib/kernel/xz_bcj.ts", // the filter for x86 instructions
  "lib/vmm/firecracker/configuration.ts", // its first serial port is ttyS0 on both
];

Deno.test("what differs between processors stands in lib/base/architecture.ts", async () => {
  const found: string[] = [];
  for (const path of await allSources()) {
    if (NAME_PROCESSORS.includes(path)) continue;
    const code = withoutComments(await Deno.readTextFile(join(root, path)));
    const named = /x86[_-]64|\bamd64\b|aarch64|\barm64\b|\btty(S0|AMA0)\b/.exec(code);
    if (named) found.push(`${path} names ${named[0]}`);
  }
  assert.deepEqual(found, []);
});

Deno.test("only lib/sys starts processes on the host", async () => {
  const found: string[] = [];
  for (const path of await allSources()) {
    if (path.startsWith("lib/sys/")) continue;
    const code = withoutComments(await Deno.readTextFile(join(root, path)));
    if (/\bDeno\s*\.\s*(Command|run)\b|\{[^}]*\bCommand\b[^}]*\}\s*=\s*Deno\b|child_process/.test(code)) {
      found.push(path);
    }
    // The guest's own processes are what the agent is for, and it starts them through one file.
    const startsNatively = /\bposix_spawnp?\b|\bexecve\b|\bv?fork\b/.test(code);
    if (startsNatively && !path.startsWith("agent/")) found.push(path);
  }
  assert.deepEqual(found, []);
});

Deno.test("the table here is the one in docs/architecture.md", async () => {
  const text = await Deno.readTextFile(join(root, "docs/architecture.md"));
  const rows = new Map<string, string[]>();
  for (const line of text.split("\n")) {
    const cells = line.split("|").map((cell) => cell.trim());
    const room = /^`(lib\/\w+|agent)\/?`$/.exec(cells[1] ?? "")?.[1];
    if (!room || cells.length < 5) continue;
    const imports = cells[3] === "nothing" ? [] : cells[3]!.split(",").map((name) => {
      const word = name.trim().replaceAll("`", "");
      return word.startsWith("lib/") ? word : `lib/${word}`;
    });
    rows.set(room, imports);
  }
  assert.deepEqual(
    Object.fromEntries([...rows].map(([room, imports]) => [room, imports.sort()])),
    Object.fromEntries(Object.entries(ROOMS).map(([room, imports]) => [room, [...imports].sort()])),
  );
});
