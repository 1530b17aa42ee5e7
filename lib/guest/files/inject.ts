import {
  byteStringOfText,
  type ContentSink,
  type DirectoryInode,
  rootOwned,
  type StoredContent,
} from "../../base/tree.ts";
import { ensureDirectory, insertFile, insertSymlink, storeBytes } from "../../base/tree_paths.ts";
import {
  AGENT_WRAPPER,
  type AgentRuntime,
  injectRuntime,
  RUNTIME_AGENT_PATH,
  RUNTIME_LOADER_PATH,
} from "./agent_runtime.ts";
import { findInterpreter, withInterpreter } from "./elf_interpreter.ts";
import { AGENT_START } from "./agent_start.ts";
import { FIRST_BOOT } from "./first_boot.ts";
import { NETWORK_BOOTSTRAP } from "./network_bootstrap.ts";
import { AGENT_UNIT, FIRST_BOOT_UNIT, NETWORK_UNIT, VSOCK_MODULES } from "./units.ts";

/** The agent's executable, as the build made it. */
export interface AgentBinary {
  open(): AsyncIterable<Uint8Array>;
}

/** Exported for tests. */
export const AGENT_PATH = "/usr/local/bin/banger-vsock-agent";
const NETWORK_BOOTSTRAP_PATH = "/usr/local/libexec/banger-network-bootstrap";
const AGENT_START_PATH = "/usr/local/libexec/banger-agent-start";
const FIRST_BOOT_PATH = "/usr/local/libexec/banger-first-boot";
const FIRST_BOOT_MARKER_PATH = "/var/lib/banger/first-boot-pending";

const UNIT_DIRECTORY = "/etc/systemd/system";
const UNITS = {
  "banger-network.service": NETWORK_UNIT,
  "banger-vsock-agent.service": AGENT_UNIT,
  "banger-first-boot.service": FIRST_BOOT_UNIT,
} as const;

/** Every text file that goes into an image, by absolute path. Exported for tests. */
export const GUEST_TEXTS: readonly { path: string; mode: number; text: string }[] = [
  { path: NETWORK_BOOTSTRAP_PATH, mode: 0o755, text: NETWORK_BOOTSTRAP },
  { path: AGENT_START_PATH, mode: 0o755, text: AGENT_START },
  { path: FIRST_BOOT_PATH, mode: 0o755, text: FIRST_BOOT },
  ...Object.entries(UNITS).map(([name, text]) => ({ path: `${UNIT_DIRECTORY}/${name}`, mode: 0o644, text })),
  { path: "/etc/modules-load.d/banger-vsock.conf", mode: 0o644, text: VSOCK_MODULES },
  { path: FIRST_BOOT_MARKER_PATH, mode: 0o644, text: "" },
];

/** Where the initramfs and the kernel mount things: an image made of one program has none of them. */
const MOUNT_POINTS = ["/dev", "/proc", "/sys", "/run", "/root", "/tmp"] as const;

/**
 * Puts the agent, its units and scripts into an image's tree (docs/architecture.md, "Guest contract"), and
 * makes the mount points that are missing. Paths are resolved inside the image, so `/lib -> usr/lib` and
 * links that try to lead outside both stay inside. All of it is root's and dated 1970, so that the same
 * image and the same agent give the same bytes; what exists under a name of ours is replaced.
 *
 * @param runtime where the image has no C library that the agent runs with
 * @throws {BangerError} `corrupt_data` where the image has something else in place of a directory
 */
export async function injectGuestFiles(
  root: DirectoryInode,
  sink: ContentSink,
  agent: AgentBinary,
  runtime?: AgentRuntime,
): Promise<void> {
  for (const path of MOUNT_POINTS) {
    ensureDirectory(root, byteStringOfText(path), rootOwned(MOUNT_POINT_MODES[path]));
  }
  for (const { path, mode, text } of GUEST_TEXTS) {
    const content = await storeBytes(sink, new TextEncoder().encode(text));
    insertFile(root, byteStringOfText(path), content, rootOwned(mode));
  }
  for (const name of Object.keys(UNITS)) {
    insertSymlink(
      root,
      byteStringOfText(`${UNIT_DIRECTORY}/multi-user.target.wants/${name}`),
      byteStringOfText(`${UNIT_DIRECTORY}/${name}`),
    );
  }
  await injectAgent(root, sink, agent, runtime);
}

async function injectAgent(
  root: DirectoryInode,
  sink: ContentSink,
  agent: AgentBinary,
  runtime: AgentRuntime | undefined,
): Promise<void> {
  const put = async (path: string, chunks: AsyncIterable<Uint8Array>) =>
    insertFile(root, byteStringOfText(path), await storeStream(sink, chunks), rootOwned(0o755));
  const interpreter = runtime && await findInterpreter(agent.open());
  if (!runtime || !interpreter) return await put(AGENT_PATH, agent.open());
  await injectRuntime(root, sink, runtime);
  await put(RUNTIME_AGENT_PATH, withInterpreter(agent.open(), interpreter, RUNTIME_LOADER_PATH));
  const wrapper = await storeBytes(sink, new TextEncoder().encode(AGENT_WRAPPER));
  insertFile(root, byteStringOfText(AGENT_PATH), wrapper, rootOwned(0o755));
}

async function storeStream(sink: ContentSink, chunks: AsyncIterable<Uint8Array>): Promise<StoredContent> {
  const writer = sink.begin();
  try {
    for await (const chunk of chunks) await writer.write(chunk);
    return await writer.end();
  } catch (failure) {
    await writer.abort();
    throw failure;
  }
}

const MOUNT_POINT_MODES: Readonly<Record<(typeof MOUNT_POINTS)[number], number>> = {
  "/dev": 0o755,
  "/proc": 0o555,
  "/sys": 0o555,
  "/run": 0o755,
  "/root": 0o700,
  "/tmp": 0o1777,
};
