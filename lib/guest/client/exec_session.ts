import { BangerError } from "../../base/errors.ts";
import { ByteSender } from "../wire/byte_sender.ts";
import {
  encodeTerminalSize,
  EXEC_FRAME,
  type ExitStatus,
  parseExecFailure,
  parseExitStatus,
  parseStartedPid,
  parseWindow,
  type SignalName,
  STDIN_WINDOW_BYTES,
  type TerminalSize,
} from "../wire/exec.ts";
import { encodeFrame, type Frame, FrameDecoder } from "../wire/frames.ts";
import { type Body, encodeChunk } from "../wire/http.ts";
import { type GuestStream, unreachable } from "./endpoint.ts";

const NOTHING = new Uint8Array(0);

/** Where a command's output goes. The bytes are valid until the promise resolves: that is the back-pressure. */
export interface OutputSink {
  stdout(bytes: Uint8Array): Promise<void>;
  /** Never called with a terminal. */
  stderr(bytes: Uint8Array): Promise<void>;
  /** Of sessions: so many bytes in front of what follows are gone. */
  lost?(bytes: number): Promise<void>;
}

/** A command that did not start in the guest. Exported for tests. */
export class CommandNotStarted extends BangerError {
  /** As a shell would give it: 127 not found, 126 not executable, 125 else. */
  readonly commandExitCode: number;

  constructor(reason: BangerError, exitCode: number) {
    super(reason.code, reason.message, reason.hint, { cause: reason });
    this.commandExitCode = exitCode;
  }
}

/**
 * A command in the guest. `finish` must run for stdin to flow, since it takes the guest's windows. Leaving
 * it without its end (`close`) ends the command.
 */
export class ExecSession implements Disposable {
  readonly #stream: GuestStream;
  readonly #body: Body;
  readonly #sender: ByteSender;
  readonly #decoder = new FrameDecoder([EXEC_FRAME.stdout, EXEC_FRAME.stderr]);
  #pending: Iterator<Frame> | undefined;
  #pid: number | undefined;
  #stdinCredit = STDIN_WINDOW_BYTES;
  #stdinEnded: boolean;
  #ended = false;
  #wake: (() => void)[] = [];

  /** @param stdinClosed as the start request has it */
  constructor(stream: GuestStream, body: Body, stdinClosed: boolean) {
    this.#stream = stream;
    this.#body = body;
    this.#sender = new ByteSender(stream.connection);
    this.#stdinEnded = stdinClosed;
  }

  /** In the guest; known once it has started. */
  get pid(): number | undefined {
    return this.#pid;
  }

  /**
   * Takes the output until the command's end.
   *
   * @throws {CommandNotStarted} `guest_unreachable` where the guest goes before; `corrupt_data` where it
   * does not keep to the protocol; whatever `sink` throws, which ends the command
   */
  async finish(sink: OutputSink): Promise<ExitStatus> {
    const status = await this.finishOrDetach(sink);
    if (status) return status;
    throw new BangerError("corrupt_data", "Cannot tell a command's end: the guest says that it goes on");
  }

  /** As `finish`, of a session. @returns undefined where it goes on and only its output so far was asked for */
  async finishOrDetach(sink: OutputSink): Promise<ExitStatus | undefined> {
    try {
      for (;;) {
        const frame = await this.#nextFrame();
        if (frame.type === EXEC_FRAME.stdout) await sink.stdout(frame.payload);
        else if (frame.type === EXEC_FRAME.stderr) await sink.stderr(frame.payload);
        else if (frame.type === EXEC_FRAME.stdinWindow) this.#addCredit(parseWindow(frame.payload));
        else if (frame.type === EXEC_FRAME.started) this.#pid = parseStartedPid(frame.payload);
        else if (frame.type === EXEC_FRAME.exited) return parseExitStatus(frame.payload);
        else if (frame.type === EXEC_FRAME.failed) throw notStarted(frame.payload);
        else if (frame.type === EXEC_FRAME.lost) await sink.lost?.(parseWindow(frame.payload));
        else if (frame.type === EXEC_FRAME.detached) return undefined;
        else {throw new BangerError(
            "corrupt_data",
            `Cannot take a frame of type ${frame.type} from the guest`,
          );}
      }
    } finally {
      this.close();
    }
  }

  /**
   * @returns when the bytes are on their way; a command that does not read makes it wait
   * @throws {BangerError} `connection_failed` once the command has ended
   */
  async writeStdin(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      while (this.#stdinCredit === 0 && !this.#ended) await this.#change();
      if (this.#stdinEnded) throw new BangerError("connection_failed", "Cannot write to stdin: it was ended");
      const part = bytes.subarray(at, at + Math.min(this.#stdinCredit, 64 * 1024));
      this.#stdinCredit -= part.length;
      at += part.length;
      await this.#send(EXEC_FRAME.stdin, part);
    }
  }

  /** The command reads the end of its stdin. Idempotent. */
  async closeStdin(): Promise<void> {
    if (this.#stdinEnded) return;
    this.#stdinEnded = true;
    await this.#send(EXEC_FRAME.stdinEnd, NOTHING);
  }

  async resize(size: TerminalSize): Promise<void> {
    await this.#send(EXEC_FRAME.resize, encodeTerminalSize(size));
  }

  /** To the command and all in its process group. */
  async signal(name: SignalName): Promise<void> {
    await this.#send(EXEC_FRAME.signal, new TextEncoder().encode(name));
  }

  /** Ends the command, if it still runs. Idempotent. */
  close(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#stream.connection.close();
    this.#notify();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #send(type: number, payload: Uint8Array): Promise<void> {
    if (this.#ended) throw ended();
    try {
      await this.#sender.send(encodeChunk(encodeFrame(type, payload)));
    } catch (failure) {
      if (this.#ended) throw ended();
      throw failure;
    }
  }

  async #nextFrame(): Promise<Frame> {
    for (;;) {
      const next = this.#pending?.next();
      if (next && !next.done) return next.value;
      const bytes = await this.#readBody();
      if (bytes === null) throw unreachable("the answer ended before the command did");
      this.#pending = this.#decoder.push(bytes);
    }
  }

  async #readBody(): Promise<Uint8Array | null> {
    try {
      return await this.#body.read();
    } catch (failure) {
      if (failure instanceof BangerError && failure.code === "corrupt_data") throw failure;
      throw unreachable("the connection ended before the command did", failure);
    }
  }

  #addCredit(bytes: number): void {
    if (this.#stdinCredit + bytes > STDIN_WINDOW_BYTES) {
      throw new BangerError(
        "corrupt_data",
        "Cannot take the guest's window: it is larger than what was sent",
      );
    }
    this.#stdinCredit += bytes;
    this.#notify();
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

function notStarted(payload: Uint8Array): CommandNotStarted {
  const { error, exitCode } = parseExecFailure(payload);
  return new CommandNotStarted(error, exitCode);
}

function ended(): BangerError {
  return new BangerError("connection_failed", "Cannot send to the command: it has ended");
}
