import type { AgentEndpointView } from "../api/contract.ts";
import type { Context, ExecSession, ExecStart } from "./command.ts";
import { say } from "./output.ts";

/** A second Ctrl-C within this leaves the command. */
const LEAVE_WINDOW_MS = 2000;
const CTRL_C = 3;
const STDIN_CHUNK_BYTES = 64 * 1024;
/** What shells report for a program that SIGINT ended. */
export const INTERRUPTED_EXIT_CODE = 130;

export interface ExecRequest {
  readonly argv: readonly string[];
  /** Undefined: the image's own. */
  readonly user?: string;
  readonly workingDirectory?: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** Undefined: where stdin and stdout are one. */
  readonly terminal?: boolean;
  /** In a shell Ctrl-C is a key like any other; a second one does not leave it. */
  readonly isShell?: boolean;
}

/**
 * Runs a command in a guest with our own standard streams.
 *
 * @returns the command's exit code, or 130 where the user left it
 */
export async function execInGuest(
  context: Context,
  endpoint: AgentEndpointView,
  request: ExecRequest,
): Promise<number> {
  const { terminal } = context;
  const isInteractive = request.terminal ?? (terminal.stdinIsTerminal && terminal.stdoutIsTerminal);
  const start: ExecStart = {
    argv: request.argv,
    ...(request.user === undefined ? {} : { user: request.user }),
    ...(request.environment === undefined ? {} : { env: request.environment }),
    ...(request.workingDirectory === undefined ? {} : { cwd: request.workingDirectory }),
    ...(isInteractive ? { terminal: { ...terminal.size(), term: terminal.type } } : {}),
  };
  using session = await context.guest.exec(endpoint, start);
  const left = Promise.withResolvers<number>();
  const interrupt = doubleInterrupt(context, left.resolve);
  using _signals = forwardSignals(context, session, interrupt);
  using _resize = isInteractive
    ? terminal.onResize(() => {
      void session.resize(terminal.size()).catch(() => {}); // the session's own end says what went wrong
    })
    : undefined;
  const isRaw = isInteractive && terminal.stdinIsTerminal;
  if (isRaw) terminal.setRaw(true);
  try {
    void feedStdin(context, session, isRaw && !request.isShell ? interrupt : undefined);
    return await Promise.race([
      session.finish({ stdout: terminal.writeStdout, stderr: terminal.writeStderr }),
      left.promise,
    ]);
  } finally {
    if (isRaw) terminal.setRaw(false);
  }
}

/** @returns told of each Ctrl-C; the second in time ends the wait */
function doubleInterrupt({ clock, terminal }: Context, leave: (code: number) => void): () => void {
  let lastMs = -Infinity;
  return () => {
    const now = clock.monotonicMs();
    if (now - lastMs < LEAVE_WINDOW_MS) {
      // The process ends with the wait: what is to be read must be written by then.
      void say(terminal, "\r\nbanger: left the command").finally(() => leave(INTERRUPTED_EXIT_CODE));
    }
    lastMs = now;
  };
}

function forwardSignals({ terminal }: Context, session: ExecSession, interrupt: () => void): Disposable {
  const forward = (name: "SIGINT" | "SIGTERM" | "SIGHUP") =>
    terminal.onSignal(name, () => {
      if (name === "SIGINT") interrupt();
      void session.signal(name).catch(() => {}); // the session's own end says what went wrong
    });
  const handlers = [forward("SIGINT"), forward("SIGTERM"), forward("SIGHUP")];
  return { [Symbol.dispose]: () => handlers.forEach((handler) => handler[Symbol.dispose]()) };
}

async function feedStdin({ terminal }: Context, session: ExecSession, interrupt?: () => void): Promise<void> {
  try {
    const buffer = new Uint8Array(STDIN_CHUNK_BYTES);
    for (;;) {
      const count = await terminal.readStdin(buffer);
      if (count === null) break;
      const bytes = buffer.slice(0, count);
      if (interrupt && bytes.includes(CTRL_C)) interrupt();
      await session.writeStdin(bytes);
    }
    await session.closeStdin();
  } catch {
    // The command ended first, or the guest is gone: `finish` sees it and says so.
  }
}
