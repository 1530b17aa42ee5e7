import { type ApiClient, followOperation } from "../api/client.ts";
import type { OperationEvent, OperationView } from "../api/contract.ts";
import { BangerError } from "../base/errors.ts";
import type { Clock, Progress } from "../base/host.ts";
import type { Terminal } from "../base/terminal.ts";
import { formatBytes } from "../base/units.ts";
import { type Context, flag, type Input } from "./command.ts";
import { visible } from "./output.ts";

const REDRAW_MS = 100;
const CLEAR_LINE = "\r\u001b[K";

/**
 * Follows an operation and shows it: on a terminal one live line with the current stage and its seconds,
 * on a pipe a plain line for each stage as it ends. Ctrl-C asks the daemon to cancel and undo.
 *
 * @throws {BangerError} the operation's failure, `cancelled` included
 */
export async function showOperation(
  { terminal, clock }: { terminal: Terminal; clock: Clock },
  client: ApiClient,
  operation: OperationView,
  options: { quiet?: boolean } = {},
): Promise<string> {
  const line = options.quiet ? undefined : new ProgressLine(terminal, clock);
  const cancel = () => {
    line?.note("cancelling; what was made is being undone");
    // A failure here shows in the operation's own end, which is being followed.
    client.v1.operations[":id"].cancel.$post({ param: { id: operation.id } }).catch(() => {});
  };
  using _interrupt = terminal.onSignal("SIGINT", cancel);
  using _terminate = terminal.onSignal("SIGTERM", cancel);
  try {
    const finished = await followOperation(client, operation, (event) => line?.show(event));
    return finished.result ?? "";
  } finally {
    await line?.end();
  }
}

/**
 * Follows an operation that somebody else began: Ctrl-C leaves it, and it goes on.
 *
 * @param options `isCancelled`: its end by being cancelled is what was wanted
 * @throws {BangerError} the operation's failure
 */
export async function watchOperation(
  { terminal, clock }: { terminal: Terminal; clock: Clock },
  client: ApiClient,
  operation: OperationView,
  options: { quiet?: boolean; isCancelled?: boolean } = {},
): Promise<string> {
  const line = options.quiet ? undefined : new ProgressLine(terminal, clock);
  try {
    return (await followOperation(client, operation, (event) => line?.show(event))).result ?? "";
  } catch (thrown) {
    if (options.isCancelled && thrown instanceof BangerError && thrown.code === "cancelled") return "";
    throw thrown;
  } finally {
    await line?.end();
  }
}

/** The option of every command that shows an operation. */
export const QUIET_OPTION = { flags: "-q, --quiet", summary: "say nothing while working" } as const;

/**
 * Sends a request that begins an operation and shows it to its end.
 *
 * @returns the name of what was made or changed
 * @throws {BangerError} the request's refusal, the operation's failure
 */
export async function carryOut(
  { context, client, input }: { context: Context; client: ApiClient; input: Input },
  request: Promise<{ json(): Promise<OperationView> }>,
): Promise<string> {
  const operation = await (await request).json();
  return await showOperation(context, client, operation, { quiet: flag(input, "quiet") });
}

/** Shows work of the command line's own, as `showOperation` shows the daemon's. */
export async function withProgressLine<T>(
  { terminal, clock }: { terminal: Terminal; clock: Clock },
  isQuiet: boolean,
  act: (progress: Progress) => Promise<T>,
): Promise<T> {
  const line = isQuiet ? undefined : new ProgressLine(terminal, clock);
  const startedAtMs = clock.monotonicMs();
  const atMs = () => clock.monotonicMs() - startedAtMs;
  try {
    const result = await act({
      stage: (name) => line?.show({ type: "stage", name, atMs: atMs() }),
      update: (done, total) =>
        line?.show({ type: "update", done, ...(total === undefined ? {} : { total }) }),
      note: (text) => line?.note(text),
    });
    line?.endStage(atMs());
    return result;
  } finally {
    await line?.end();
  }
}

class ProgressLine {
  readonly #terminal: Terminal;
  readonly #clock: Clock;
  readonly #timer: number | undefined;
  #stage: { name: string; startedAtMs: number; sinceMs: number } | undefined;
  #detail = "";
  #pending: Promise<void> = Promise.resolve();

  constructor(terminal: Terminal, clock: Clock) {
    this.#terminal = terminal;
    this.#clock = clock;
    if (terminal.stderrIsTerminal) this.#timer = setInterval(() => this.#draw(), REDRAW_MS);
  }

  show(event: OperationEvent): void {
    if (event.type === "stage") {
      this.endStage(event.atMs);
      this.#stage = { name: event.name, startedAtMs: this.#clock.monotonicMs(), sinceMs: event.atMs };
      this.#draw();
    } else if (event.type === "update") {
      this.#detail = event.total === undefined
        ? ` ${formatBytes(event.done)}`
        : ` ${Math.floor(event.done / event.total * 100)}% of ${formatBytes(event.total)}`;
    } else if (event.type === "note") {
      this.note(event.text);
    } else {
      this.endStage(event.atMs);
    }
  }

  note(text: string): void {
    this.#write(`${this.#clear()}banger: ${visible(text)}\n`);
    this.#draw();
  }

  /** Resolves when all of it is written. */
  async end(): Promise<void> {
    clearInterval(this.#timer);
    this.#write(this.#clear());
    await this.#pending;
  }

  /** The stage is over, if there is one. */
  endStage(atMs: number): void {
    if (!this.#stage) return;
    this.#write(
      `${this.#clear()}banger: ${visible(this.#stage.name)}: ${seconds(atMs - this.#stage.sinceMs)}\n`,
    );
    this.#stage = undefined;
    this.#detail = "";
  }

  #draw(): void {
    if (!this.#stage || !this.#terminal.stderrIsTerminal) return;
    const elapsed = seconds(this.#clock.monotonicMs() - this.#stage.startedAtMs);
    const line = `${visible(this.#stage.name)} … ${elapsed}${this.#detail}`;
    this.#write(`${CLEAR_LINE}${line.slice(0, Math.max(10, this.#terminal.size().columns - 1))}`);
  }

  #clear(): string {
    return this.#terminal.stderrIsTerminal ? CLEAR_LINE : "";
  }

  /** In order, without making callers wait. */
  #write(text: string): void {
    if (text === "") return;
    this.#pending = this.#pending.then(() => this.#terminal.writeStderr(new TextEncoder().encode(text)));
  }
}

function seconds(ms: number): string {
  return `${(Math.max(0, ms) / 1000).toFixed(1)} s`;
}
