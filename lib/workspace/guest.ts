/** How workspaces reach into a guest: one command at a time, its streams in our hands. */
import { concatBytes } from "../base/bytes.ts";
import { BangerError } from "../base/errors.ts";
import { quote } from "../base/names.ts";
import { displayText } from "../base/tree.ts";
import { byteString } from "../base/tree.ts";

/** A command in the guest, as the agent's client and the command line both have it. */
export interface GuestSession extends Disposable {
  finish(
    sink: { stdout(bytes: Uint8Array): Promise<void>; stderr(bytes: Uint8Array): Promise<void> },
  ): Promise<number>;
  writeStdin(bytes: Uint8Array): Promise<void>;
  closeStdin(): Promise<void>;
}

/** Starts a command as root in "/". */
export type StartInGuest = (argv: readonly string[]) => Promise<GuestSession>;

/**
 * Puts a file of root's into the guest, past every process there.
 *
 * @param path absolute; what is there is replaced
 * @returns false, and nothing has happened, where a command's stdin is no slower
 * @throws {BangerError} `guest_failed` where the guest could not keep it
 */
export type SendArchive = (path: string, content: () => AsyncIterable<Uint8Array>) => Promise<boolean>;

/** What banger's initramfs leaves in every guest: no program of the image is needed. */
export const BUSYBOX = "/run/banger/bin/busybox";
const MAX_STDERR_BYTES = 16 * 1024;

export interface GuestRun {
  readonly stdin?: AsyncIterable<Uint8Array>;
  /** Takes stdout as it comes; valid until the promise resolves. */
  readonly stdout?: (bytes: Uint8Array) => Promise<void>;
}

/** @returns the exit code and the first of what it said on stderr, which is the guest's word: quote it */
export async function runInGuest(
  start: StartInGuest,
  argv: readonly string[],
  { stdin, stdout }: GuestRun = {},
): Promise<{ code: number; stderr: string }> {
  using session = await start(argv);
  const said: Uint8Array[] = [];
  let saidBytes = 0;
  const feeding = feed(session, stdin);
  // Seen below, or by `finish`, whichever is first.
  feeding.catch(() => {});
  const code = await session.finish({
    stdout: stdout ?? (() => Promise.resolve()),
    stderr: (bytes) => {
      if (saidBytes < MAX_STDERR_BYTES) said.push(bytes.slice());
      saidBytes += bytes.length;
      return Promise.resolve();
    },
  });
  const ended = await feeding;
  // A command that ends well has taken all; one that fails may have ended before that.
  if (code === 0 && ended !== undefined) throw ended;
  if (ended instanceof BangerError && ended.code !== "connection_failed") throw ended;
  return { code, stderr: displayText(byteString(concatBytes(said))).slice(0, MAX_STDERR_BYTES) };
}

/** @returns why it ended early, if it did */
async function feed(session: GuestSession, stdin: AsyncIterable<Uint8Array> | undefined): Promise<unknown> {
  try {
    for await (const bytes of stdin ?? []) await session.writeStdin(bytes);
    await session.closeStdin();
    return undefined;
  } catch (thrown) {
    // Where what is sent fails, the command must not take the rest for all.
    if (!(thrown instanceof BangerError && thrown.code === "connection_failed")) session[Symbol.dispose]();
    return thrown;
  }
}

/** @param action completes "Cannot …" */
export function guestFailure(
  action: string,
  { code, stderr }: { code: number; stderr: string },
): BangerError {
  const lines = stderr.trim().split("\n");
  const words = lines.find((line) => /^(fatal|error|tar):/.test(line)) ?? lines.at(-1) ?? "";
  return new BangerError(
    "guest_failed",
    `Cannot ${action}: ${
      words === "" ? `it ended with ${code} in the guest` : `the guest says ${quote(words)}`
    }`,
    "See whether there is room on its work disk: banger vm exec NAME -- df -h /root",
  );
}
