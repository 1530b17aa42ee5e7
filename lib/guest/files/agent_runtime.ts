/**
 * The C library that the agent brings along into images that have none it can run with. It lies in a
 * directory of its own, which nothing of the image looks into: the agent's copy there names the loader in
 * it, and a wrapper in the agent's place tells that loader where the libraries are.
 */
import { byteStringOfText, type ContentSink, type DirectoryInode, rootOwned } from "../../base/tree.ts";
import { insertFile, storeBytes } from "../../base/tree_paths.ts";

const RUNTIME_DIRECTORY = "/usr/local/lib/banger";
/** Short, since it takes the place of the loader's own path inside the agent. */
export const RUNTIME_LOADER_PATH = `${RUNTIME_DIRECTORY}/ld`;
export const RUNTIME_AGENT_PATH = `${RUNTIME_DIRECTORY}/agent`;

/** What the agent's executable links to: libgcc's, then those of the GNU C library itself. */
export const COMPILER_LIBRARY = "libgcc_s.so.1";
export const C_LIBRARY = "libc.so.6";
export const C_LIBRARIES = [C_LIBRARY, "libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1"] as const;
/** The newest interface that the agent's executable asks for is GLIBC_2.27. */
export const LEAST_C_LIBRARY_MINOR = 27;

/** As one host has it: loader and libraries belong together. */
export interface AgentRuntime {
  readonly loader: Uint8Array;
  readonly libraries: readonly { readonly name: string; readonly bytes: Uint8Array }[];
}

/** The environment is the agent's alone: it makes its commands' anew. */
export const AGENT_WRAPPER = `#!/run/banger/bin/busybox sh
# shellcheck shell=dash
# Written by banger: this image's C library is not one that the agent runs with, so it has its own.
LD_LIBRARY_PATH=${RUNTIME_DIRECTORY} exec ${RUNTIME_AGENT_PATH} "$@"
`;

/** Puts loader and libraries into an image's tree. */
export async function injectRuntime(
  root: DirectoryInode,
  sink: ContentSink,
  { loader, libraries }: AgentRuntime,
): Promise<void> {
  const put = async (path: string, bytes: Uint8Array, mode: number) =>
    insertFile(root, byteStringOfText(path), await storeBytes(sink, bytes), rootOwned(mode));
  await put(RUNTIME_LOADER_PATH, loader, 0o755);
  for (const { name, bytes } of libraries) await put(`${RUNTIME_DIRECTORY}/${name}`, bytes, 0o644);
}
