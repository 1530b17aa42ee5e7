/** Whether an image can run the agent by itself, and what this host gives it where it cannot. */
import { BangerError } from "../base/errors.ts";
import type { Files } from "../base/host.ts";
import { byteStringOfText, type DirectoryInode, displayText } from "../base/tree.ts";
import { lookup } from "../base/tree_paths.ts";
import {
  type AgentRuntime,
  C_LIBRARIES,
  C_LIBRARY,
  COMPILER_LIBRARY,
  LEAST_C_LIBRARY_MINOR,
} from "../guest/files/agent_runtime.ts";
import { elfMachineOf, findInterpreter, type Interpreter } from "../guest/files/elf_interpreter.ts";
import type { AgentBinary } from "../guest/files/inject.ts";
import { type ImageTraits, LIBRARY_DIRECTORIES } from "./detect.ts";

type Reader = Pick<Files, "readBytes">;

/** The largest of them, libc.so.6, has 2 MB; with debug symbols inside more. */
const MAX_LIBRARY_BYTES = 64 * 1024 * 1024;

/**
 * The C library for the agent in an image that has none, not the GNU one, one older than the agent needs, or
 * not all of it. It is this host's own: what runs banger here runs the agent there.
 *
 * @returns undefined where the image's own will do, or the agent needs none
 * @throws {BangerError} `host_unsupported` where this host lacks a part of it
 */
export async function findAgentRuntime(
  files: Reader,
  root: DirectoryInode,
  { libc }: Pick<ImageTraits, "libc">,
  agent: AgentBinary,
): Promise<AgentRuntime | undefined> {
  const interpreter = await findInterpreter(agent.open());
  if (!interpreter || (libc === "glibc" && runsAgent(root, interpreter))) return undefined;
  return await readHostRuntime(files, interpreter);
}

/** Alpine with `gcompat` has a loader of that name, too: the caller has seen to it that it is glibc's. */
function runsAgent(root: DirectoryInode, interpreter: Interpreter): boolean {
  const isThere = (path: string) => lookup(root, byteStringOfText(path))?.kind === "file";
  return isThere(interpreter.path) && !hasOldLibrary(root) &&
    [...C_LIBRARIES, COMPILER_LIBRARY].every((name) =>
      LIBRARY_DIRECTORIES.some((directory) => isThere(`${directory}/${name}`))
    );
}

/** Up to 2.33 the library is a link to a file with the version in its name. */
function hasOldLibrary(root: DirectoryInode): boolean {
  return LIBRARY_DIRECTORIES.some((directory) => {
    const inode = lookup(root, byteStringOfText(`${directory}/${C_LIBRARY}`), { followLast: false });
    const minor = inode?.kind === "symlink" && /libc-2\.(\d+)\.so$/.exec(displayText(inode.target))?.[1];
    return typeof minor === "string" && Number(minor) < LEAST_C_LIBRARY_MINOR;
  });
}

async function readHostRuntime(
  files: Reader,
  { path, machine }: Interpreter,
): Promise<AgentRuntime> {
  const loader = await readObject(files, path, machine);
  if (!loader) throw missing(path);
  // Those of the C library come from one directory: parts of two do not fit together.
  for (const directory of LIBRARY_DIRECTORIES) {
    const own = await readAll(files, directory, C_LIBRARIES, machine);
    if (!own) continue;
    for (const other of [directory, ...LIBRARY_DIRECTORIES]) {
      const compiler = await readAll(files, other, [COMPILER_LIBRARY], machine);
      if (compiler) return { loader, libraries: [...own, ...compiler] };
    }
    throw missing(COMPILER_LIBRARY);
  }
  throw missing(C_LIBRARIES.join(", "));
}

async function readAll(
  files: Reader,
  directory: string,
  names: readonly string[],
  machine: number,
): Promise<{ name: string; bytes: Uint8Array }[] | undefined> {
  const found = [];
  for (const name of names) {
    const bytes = await readObject(files, `${directory}/${name}`, machine);
    if (!bytes) return undefined;
    found.push({ name, bytes });
  }
  return found;
}

/** @returns undefined where the file is not there, or is for another processor */
async function readObject(
  files: Reader,
  path: string,
  machine: number,
): Promise<Uint8Array | undefined> {
  try {
    const bytes = await files.readBytes(path, MAX_LIBRARY_BYTES);
    return elfMachineOf(bytes) === machine ? bytes : undefined;
  } catch (thrown) {
    if (thrown instanceof BangerError && thrown.code === "not_found") return undefined;
    throw thrown;
  }
}

function missing(what: string): BangerError {
  return new BangerError(
    "host_unsupported",
    `Cannot give the image what banger's agent runs with: this host has no ${what}`,
    "Install the GNU C library and libgcc, such as Debian's packages libc6 and libgcc-s1",
  );
}
