import { BangerError } from "../base/errors.ts";
import type { Host, ProcessIdentity } from "../base/host.ts";

/** A helper has nothing to save; one that takes longer than this to end is killed. */
const TERMINATION_TIMEOUT_MS = 1000;
const KILL_TIMEOUT_MS = 5000;

/**
 * Ends the processes that ran beside a VMM. Those that are gone already are fine.
 *
 * @throws {BangerError} `host_unsupported` where one outlives SIGKILL
 */
export async function endHelpers(
  { processes }: Pick<Host, "processes">,
  helpers: readonly ProcessIdentity[],
): Promise<void> {
  for (const helper of helpers) await processes.signal(helper, "SIGTERM");
  for (const helper of helpers) {
    if (await processes.waitForExit(helper, TERMINATION_TIMEOUT_MS)) continue;
    await processes.signal(helper, "SIGKILL");
    if (await processes.waitForExit(helper, KILL_TIMEOUT_MS)) continue;
    throw new BangerError(
      "host_unsupported",
      `Cannot end ${helper.executable}: process ${helper.pid} outlives SIGKILL`,
    );
  }
}

/** Sockets have 108 bytes for their path, the last of which is a zero (unix(7)). */
const MAX_SOCKET_PATH_BYTES = 107;

/** @throws {BangerError} `host_unsupported` */
export function assertSocketPathFits(path: string): void {
  const bytes = new TextEncoder().encode(path).length;
  if (bytes <= MAX_SOCKET_PATH_BYTES) return;
  throw new BangerError(
    "host_unsupported",
    `Cannot make socket ${path}: its path has ${bytes} bytes, and ${MAX_SOCKET_PATH_BYTES} is the most`,
    "Set XDG_RUNTIME_DIR to a shorter path",
  );
}

/** 0 to 2 are the hypervisor's, the loopback's and the host's, the highest means "any" (vsock(7)). */
const MIN_CID = 3;
const MAX_CID = 2 ** 32 - 2;

/** @throws {BangerError} `invalid_argument` */
export function assertGuestCid(cid: number): void {
  if (Number.isInteger(cid) && cid >= MIN_CID && cid <= MAX_CID) return;
  throw new BangerError("invalid_argument", `Cannot use ${cid} as a guest's vsock CID: it is no guest's`);
}

const LOG_TAIL_BYTES = 2048;
const LOG_TAIL_LINES = 5;

/** @returns the last lines of a log for an error message; empty where there is none */
export async function lastLogLines(
  { files }: Pick<Host, "files">,
  path: string,
  fromBytes: number,
): Promise<string> {
  const sizeBytes = (await files.stat(path))?.sizeBytes ?? 0;
  const start = Math.max(fromBytes, sizeBytes - LOG_TAIL_BYTES);
  if (start >= sizeBytes) return "";
  const buffer = new Uint8Array(sizeBytes - start);
  await using log = await files.open(path, { read: true });
  const count = await log.readAt(buffer, start);
  const lines = new TextDecoder().decode(buffer.subarray(0, count)).trim().split("\n");
  // A guest can't write here, but a path inside a message can hold anything.
  // deno-lint-ignore no-control-regex
  return lines.slice(-LOG_TAIL_LINES).join("; ").replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, "\ufffd");
}
