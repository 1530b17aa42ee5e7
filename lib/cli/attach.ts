import { BangerError } from "../base/errors.ts";
import { formatBytes } from "../base/units.ts";
import type { Context } from "./command.ts";
import { INTERRUPTED_EXIT_CODE } from "./exec.ts";
import type { AttachedSession, GuestSessions, SessionSink, SessionView } from "./guest_sessions.ts";
import { say } from "./output.ts";
import { TerminalModes } from "./terminal_modes.ts";

const STDIN_CHUNK_BYTES = 64 * 1024;
/** Of a terminal: enough for its screen. */
const TERMINAL_TAIL_BYTES = 64 * 1024;
export const DEFAULT_DETACH_KEY = "ctrl-]";

/** @returns the key's byte; undefined for `none`. @throws {BangerError} `invalid_argument` */
export function parseDetachKey(text: string): number | undefined {
  if (text === "none") return undefined;
  const character = /^ctrl-([a-z@[\\\]^_])$/.exec(text.toLowerCase())?.[1];
  if (character) return character.toUpperCase().charCodeAt(0) & 0x1f;
  throw new BangerError(
    "invalid_argument",
    `Cannot use ${JSON.stringify(text)} as the detach key`,
    "Write ctrl- and a letter or one of @ [ \\ ] ^ _, or none",
  );
}

/**
 * Joins our terminal, or our pipes, to a session.
 *
 * @param detachKey its byte, where keys can detach
 * @returns the session's exit code; 0 where the key detached, 130 where Ctrl-C did
 */
export async function attachToSession(
  context: Context,
  sessions: GuestSessions,
  { name, hasTerminal }: Pick<SessionView, "name" | "hasTerminal">,
  detachKey: number | undefined,
): Promise<number> {
  const { terminal } = context;
  const isRaw = hasTerminal && terminal.stdinIsTerminal && terminal.stdoutIsTerminal;
  using attached = await sessions.attach(
    name,
    hasTerminal ? { tailBytes: TERMINAL_TAIL_BYTES, ...(isRaw ? { size: terminal.size() } : {}) } : {},
  );
  const left = Promise.withResolvers<number>();
  // With a terminal of its own Ctrl-C is a key like any other.
  using _interrupt = terminal.onSignal("SIGINT", () => left.resolve(INTERRUPTED_EXIT_CODE));
  using _resize = isRaw
    ? terminal.onResize(() => {
      void attached.resize(terminal.size()).catch(() => {}); // the session's own end says what went wrong
    })
    : undefined;
  if (isRaw) terminal.setRaw(true);
  const modes = new TerminalModes();
  const sink = sinkOf(context);
  const watched = { ...sink, stdout: (bytes: Uint8Array) => (modes.watch(bytes), sink.stdout(bytes)) };
  let code: number | undefined;
  let hasLeft = false;
  try {
    void feed(context, attached, isRaw ? detachKey : undefined, () => left.resolve(0));
    code = await Promise.race([
      attached.finish(isRaw ? watched : sink),
      left.promise.then((leaving) => {
        hasLeft = true;
        return leaving;
      }),
    ]);
  } finally {
    if (isRaw) {
      // A program that is left on another screen, or with the mouse, would keep the terminal so.
      await terminal.writeStdout(new TextEncoder().encode(modes.undo()));
      terminal.setRaw(false);
    }
  }
  if (hasLeft) await say(terminal, `${isRaw ? "\r\n" : ""}banger: detached; session ${name} goes on`);
  if (code !== undefined) return code;
  throw new BangerError("corrupt_data", `Cannot follow session ${name}: the guest ends its output too early`);
}

/** @returns where a session's output goes: our own standard streams */
export function sinkOf({ terminal }: Pick<Context, "terminal">): SessionSink {
  return {
    stdout: terminal.writeStdout,
    stderr: terminal.writeStderr,
    lost: (bytes) => say(terminal, `banger: ${formatBytes(bytes)} of earlier output are no longer kept`),
  };
}

/** The end of our stdin is not the end of the session's: others write to it, too. */
async function feed(
  { terminal }: Context,
  attached: AttachedSession,
  detachKey: number | undefined,
  detach: () => void,
): Promise<void> {
  try {
    const buffer = new Uint8Array(STDIN_CHUNK_BYTES);
    for (let count; (count = await terminal.readStdin(buffer)) !== null;) {
      const bytes = buffer.slice(0, count);
      const at = detachKey === undefined ? -1 : bytes.indexOf(detachKey);
      if (at !== 0) await attached.writeStdin(at < 0 ? bytes : bytes.subarray(0, at));
      if (at >= 0) return detach();
    }
  } catch {
    // The session ended first, or the guest is gone: `finish` sees it and says so.
  }
}
