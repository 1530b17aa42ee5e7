import { BangerError, reasonOf } from "../../lib/base/errors.ts";
import type { Log } from "../../lib/base/host.ts";
import {
  type ExitStatus,
  SIGNALS,
  STDIN_WINDOW_BYTES,
  type TerminalSize,
} from "../../lib/guest/wire/exec.ts";
import {
  SESSION_OUTPUT_BYTES,
  type SessionStart,
  type SessionView,
  shownCommand,
} from "../../lib/guest/wire/sessions.ts";
import { resolveCommand } from "../command.ts";
import type { Descriptors } from "../descriptor.ts";
import { startRunning } from "../exec.ts";
import type { RunningCommand } from "../running_command.ts";
import { OutputLog } from "./output_log.ts";

/** Between the request to end and the order. */
const KILL_AFTER_MS = 5000;
const RECORD = "session.json";

/** What outlives the agent, beside the output. */
export interface SessionRecord extends Omit<SessionView, "outputBytes" | "attachedClients"> {
  /** Tells the process from a later one of the same pid. */
  readonly bootId: string;
  readonly startTimeTicks: number;
}

/** A command with its output on the disk and its stdin open to many. */
export class Session {
  #record: SessionRecord;
  readonly #directory: string;
  readonly #log: Log;
  readonly output: OutputLog;
  /** Absent once it has ended. */
  #command: RunningCommand | undefined;
  #size: TerminalSize | undefined;
  #stdinCredit = STDIN_WINDOW_BYTES;
  #stdinEnded = false;
  #stdinTurn: Promise<void> = Promise.resolve();
  #wake: (() => void)[] = [];
  readonly #ended = Promise.withResolvers<void>();
  #saving: Promise<void> = Promise.resolve();
  attachedClients = 0;

  private constructor(directory: string, record: SessionRecord, output: OutputLog, log: Log) {
    this.#directory = directory;
    this.#record = record;
    this.output = output;
    this.#log = log;
  }

  /**
   * @param directory its own, empty
   * @param identify what tells its process from a later one
   * @throws {BangerError} saying why the command cannot start
   */
  static async start(
    descriptors: Descriptors,
    directory: string,
    start: SessionStart & { readonly name: string },
    identify: (pid: number) => Pick<SessionRecord, "bootId" | "startTimeTicks">,
    log: Log,
  ): Promise<Session> {
    const own = { ...start, env: { BANGER_SESSION: start.name, ...start.env } };
    const resolved = resolveCommand(descriptors.libc, own);
    const output = new OutputLog(directory, SESSION_OUTPUT_BYTES, log);
    const command = startRunning(descriptors, own, {
      output(type, buffer, count) {
        output.append(type, buffer.space.subarray(0, count));
        return Promise.resolve();
      },
      window(bytes) {
        session.addCredit(bytes);
        return Promise.resolve();
      },
    }, resolved);
    const session = new Session(
      directory,
      {
        name: start.name,
        state: "running",
        command: shownCommand(start.argv.length > 0 ? start.argv : resolved.argv),
        cwd: resolved.cwd,
        user: resolved.env.USER ?? "",
        hasTerminal: start.terminal !== undefined,
        pid: command.pid,
        startedAt: new Date().toISOString(),
        lostBytes: 0,
        ...identify(command.pid),
      },
      output,
      log,
    );
    session.#run(command, start.terminal);
    try {
      await session.#save();
    } catch (failure) {
      // Nobody would find it again.
      await session.stop(true);
      throw new BangerError(
        "no_space",
        `Cannot start session ${start.name}: its record cannot be written: ${reasonOf(failure)}`,
        "Make room on the VM's root disk",
      );
    }
    return session;
  }

  /** One that an earlier agent has left. @param record of one that ran: it is lost */
  static async ofEarlier(directory: string, record: SessionRecord, log: Log): Promise<Session> {
    const output = await OutputLog.ofEarlier(directory, SESSION_OUTPUT_BYTES, record.lostBytes, log);
    const isLost = record.state === "running";
    const session = new Session(directory, isLost ? { ...record, state: "lost" } : record, output, log);
    session.#ended.resolve();
    if (isLost) await session.#save();
    return session;
  }

  get record(): SessionRecord {
    return this.#record;
  }

  get view(): SessionView {
    const { bootId: _bootId, startTimeTicks: _ticks, ...shown } = this.#record;
    return {
      ...shown,
      outputBytes: this.output.keptBytes,
      lostBytes: this.output.lostBytes,
      attachedClients: this.attachedClients,
    };
  }

  addCredit(bytes: number): void {
    this.#stdinCredit += bytes;
    this.#notify();
  }

  /**
   * What one call writes stays together, whoever else writes.
   *
   * @param bytes unchanged until it resolves
   * @returns once the command has it, or as good as
   * @throws {BangerError} `wrong_state` where nobody reads it any more
   */
  async writeStdin(bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    const turn = this.#stdinTurn.then(() => this.#feed(bytes, signal));
    this.#stdinTurn = turn.catch(() => {}); // told to the one who wrote it
    await turn;
  }

  /** After all that was written so far. */
  async endStdin(): Promise<void> {
    await this.#stdinTurn;
    this.#stdinEnded = true;
    this.#command?.endStdin();
  }

  /** The same size again makes the program draw its screen again: it is changed for a moment. */
  resize(size: TerminalSize): void {
    const { rows, columns } = size;
    if (this.#size?.rows === rows && this.#size.columns === columns) {
      this.#command?.resize({ rows: rows > 1 ? rows - 1 : rows + 1, columns });
    }
    this.#size = size;
    this.#command?.resize(size);
  }

  /** Asks its process group to end; orders it after a while, or at once. @returns once it has ended */
  async stop(isForced: boolean): Promise<void> {
    const command = this.#command;
    if (!command) return;
    // Interactive shells ignore SIGTERM.
    const polite = this.#record.hasTerminal ? SIGNALS.SIGHUP : SIGNALS.SIGTERM;
    command.signal(isForced ? SIGNALS.SIGKILL : polite);
    const timer = setTimeout(() => command.signal(SIGNALS.SIGKILL), KILL_AFTER_MS);
    await this.#ended.promise.finally(() => clearTimeout(timer));
  }

  /** With its output. */
  async remove(): Promise<void> {
    await Deno.remove(this.#directory, { recursive: true });
  }

  #run(command: RunningCommand, size: TerminalSize | undefined): void {
    this.#command = command;
    this.#size = size;
    command.finish().then(
      (exit) => this.#end({ state: "exited", exit }),
      (failure) => {
        this.#log("error", "a session's end is not known", { reason: reasonOf(failure) });
        return this.#end({ state: "lost" });
      },
    ).catch((failure) => this.#log("error", "cannot keep a session's end", { reason: reasonOf(failure) }));
  }

  async #end(how: { state: "exited"; exit: ExitStatus } | { state: "lost" }): Promise<void> {
    this.#command = undefined;
    this.#record = {
      ...this.#record,
      ...how,
      endedAt: new Date().toISOString(),
      lostBytes: this.output.lostBytes,
    };
    this.output.end();
    this.#notify();
    await this.#save().finally(this.#ended.resolve);
  }

  async #feed(bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    const wake = () => this.#notify();
    signal.addEventListener("abort", wake);
    try {
      for (let at = 0; at < bytes.length;) {
        while (this.#command && this.#stdinCredit === 0 && !signal.aborted) await this.#change();
        if (signal.aborted) return;
        if (!this.#command || this.#stdinEnded) throw this.#noStdin();
        const part = bytes.subarray(at, at + this.#stdinCredit);
        this.#stdinCredit -= part.length;
        at += part.length;
        this.#command.takeStdin(part);
      }
    } finally {
      signal.removeEventListener("abort", wake);
    }
  }

  #noStdin(): BangerError {
    const why = this.#stdinEnded ? "its standard input was ended" : "it has ended";
    return new BangerError("wrong_state", `Cannot send to session ${this.#record.name}: ${why}`);
  }

  /** One after the other: the newest record is the last. */
  #save(): Promise<void> {
    const saving = this.#saving.then(async () => {
      const path = `${this.#directory}/${RECORD}`;
      await Deno.writeTextFile(`${path}.new`, JSON.stringify(this.#record), { mode: 0o600 });
      await Deno.rename(`${path}.new`, path);
    });
    this.#saving = saving.catch(() => {}); // told to the one who saved
    return saving;
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#wake.push(resolve));
  }

  #notify(): void {
    const woken = this.#wake;
    this.#wake = [];
    for (const wake of woken) wake();
  }
}

/** @returns undefined for what is no record of ours */
export async function readRecord(directory: string): Promise<SessionRecord | undefined> {
  try {
    const record: unknown = JSON.parse(await Deno.readTextFile(`${directory}/${RECORD}`));
    if (typeof record !== "object" || record === null || !("state" in record)) return undefined;
    return record as SessionRecord;
  } catch (failure) {
    if (failure instanceof SyntaxError || failure instanceof Deno.errors.NotFound) return undefined;
    throw failure;
  }
}
