import { BangerError } from "../lib/base/errors.ts";
import { writeFully } from "../lib/base/bytes.ts";
import { ByteRing } from "../lib/guest/wire/byte_ring.ts";
import {
  EXEC_FRAME,
  type ExitStatus,
  parseSignalName,
  parseTerminalSize,
  SIGNALS,
  STDIN_WINDOW_BYTES,
  type TerminalSize,
} from "../lib/guest/wire/exec.ts";
import { type Frame, FRAME_HEADER_BYTES } from "../lib/guest/wire/frames.ts";
import { ChunkBuffer } from "../lib/guest/wire/http.ts";
import type { Descriptors, DescriptorStream } from "./descriptor.ts";
import { exitOf } from "./spawn.ts";
import type { CommandStreams } from "./streams.ts";
import { setTerminalSize } from "./terminal.ts";

const READ_BYTES = 64 * 1024;
/** What a command's children may still print after it has ended; whoever wants more waits for them. */
const LINGER_MS = 200;
/** After that moment: nothing more can come of what the command itself printed. */
const SILENCE_MS = 50;
/** What the kernel may hold of a terminal's output, of which FIONREAD sees only the last step. */
const TERMINAL_BYTES = 128 * 1024;
/** Between the request to end and the order. */
const KILL_AFTER_MS = 2000;
/** Told to the client in such steps. */
const WINDOW_STEP_BYTES = STDIN_WINDOW_BYTES / 4;
/** VEOF of a terminal as it is set up: Ctrl-D. */
const END_OF_TRANSMISSION = 4;

/** Where a command's output goes, and what is told of its stdin. */
export interface CommandSink {
  /**
   * @param type `EXEC_FRAME.stdout` or `.stderr`
   * @param buffer has `count` bytes in its `space`, valid until the promise resolves: that is the back-pressure
   */
  output(type: number, buffer: ChunkBuffer, count: number): Promise<void>;
  /** So many bytes more of stdin may be taken. */
  window(bytes: number): Promise<void>;
}

/** A started command with its streams. Its owner calls `finish` once, and `abandon` when the client has gone. */
export class RunningCommand {
  readonly pid: number;
  readonly #descriptors: Descriptors;
  readonly #streams: CommandStreams;
  readonly #sink: CommandSink;
  readonly #exited: Promise<ExitStatus>;
  readonly #stdin = new ByteRing(STDIN_WINDOW_BYTES);
  #feedBuffer: Uint8Array | undefined;
  /** Written to the command, but not yet told to the client. */
  #untoldBytes = 0;
  #stdinEnded = false;
  #feeding = false;
  #hasExited = false;
  #abandoned = false;
  #killTimer: number | undefined;

  constructor(descriptors: Descriptors, pid: number, streams: CommandStreams, sink: CommandSink) {
    this.pid = pid;
    this.#descriptors = descriptors;
    this.#streams = streams;
    this.#sink = sink;
    this.#exited = exitOf(descriptors.libc, descriptors.poller, pid, () => this.#beforeReaping());
    // `finish` tells its failure; until that is called, nobody listens.
    this.#exited.catch(() => {});
  }

  /** @throws {BangerError} `corrupt_data` where the client does not keep to the protocol */
  takeFrame({ type, payload }: Frame): void {
    if (type === EXEC_FRAME.stdin) this.takeStdin(payload);
    else if (type === EXEC_FRAME.stdinEnd) this.endStdin();
    else if (type === EXEC_FRAME.resize) this.resize(parseTerminalSize(payload));
    else if (type === EXEC_FRAME.signal) this.signal(SIGNALS[parseSignalName(payload)]);
    else throw new BangerError("corrupt_data", `Cannot take a frame of type ${type} from a client`);
  }

  /** What came before is still written. Idempotent. */
  endStdin(): void {
    this.#stdinEnded = true;
    this.#startFeeding();
  }

  /** Passes on what it prints, until its end. @returns how it ended, after all of its output was sent */
  async finish(): Promise<ExitStatus> {
    const { stdout, stderr } = this.#streams;
    const outputs = [this.#passOn(stdout, EXEC_FRAME.stdout)];
    if (stderr) outputs.push(this.#passOn(stderr, EXEC_FRAME.stderr));
    try {
      const [status] = await Promise.all([this.#exited, ...outputs]);
      return status;
    } finally {
      this.#streams.close();
    }
  }

  /** The client has gone: ends all of the command's process group. Idempotent. */
  abandon(): void {
    if (this.#abandoned) return;
    this.#abandoned = true;
    // The signal first: who reads the end of its input must not take what came for all.
    this.signal(this.#streams.isTerminal ? SIGNALS.SIGHUP : SIGNALS.SIGTERM);
    this.#streams.close();
    if (this.#hasExited) return;
    this.#killTimer = setTimeout(() => this.signal(SIGNALS.SIGKILL), KILL_AFTER_MS);
  }

  /**
   * The client has gone, and the command may go on: it reads the end of its input, and a terminal hangs up. As
   * sshd does it. Idempotent.
   */
  release(): void {
    this.#streams.close();
  }

  /** Resolves when it has ended and was reaped, or can't be waited for. */
  async untilReaped(): Promise<void> {
    await this.#exited.catch(() => {});
  }

  /** While nobody has reaped the leader, the group's number is its own: whoever is left of it can be killed. */
  #beforeReaping(): void {
    if (this.#abandoned) this.signal(SIGNALS.SIGKILL);
    this.#hasExited = true;
    clearTimeout(this.#killTimer);
  }

  /** To the process group: the pid is the group's, too, and stays so until it is reaped. */
  signal(number: number): void {
    if (!this.#hasExited) this.#descriptors.libc.call.kill(-this.pid, number);
  }

  /** Without a terminal, nothing. */
  resize(size: TerminalSize): void {
    if (this.#streams.isTerminal && !this.#abandoned) {
      setTerminalSize(this.#descriptors.libc, this.#streams.stdin.fd, size);
    }
  }

  /**
   * @param payload copied, where it is not written at once
   * @throws {BangerError} `corrupt_data` beyond the window: what was taken, less what `sink.window` told
   */
  takeStdin(payload: Uint8Array): void {
    if (this.#stdinEnded) throw beyondWindow();
    // With nothing in front of it the command mostly takes all of it, and nothing is copied.
    const taken = this.#feeding ? 0 : this.#streams.stdin.writeNow(payload);
    if (!this.#stdin.push(payload.subarray(taken))) throw beyondWindow();
    this.#untoldBytes += taken;
    this.#startFeeding();
  }

  #startFeeding(): void {
    if (this.#feeding) return;
    // It fails where the client can't be told any more: then it has gone.
    this.#feed().catch(() => this.abandon());
  }

  async #feed(): Promise<void> {
    this.#feeding = true;
    try {
      if (this.#untoldBytes >= WINDOW_STEP_BYTES) await this.#tellWindow();
      while (this.#stdin.length > 0) {
        this.#feedBuffer ??= new Uint8Array(READ_BYTES);
        const count = this.#stdin.shift(this.#feedBuffer);
        await this.#writeStdin(this.#feedBuffer.subarray(0, count));
        this.#untoldBytes += count;
        if (this.#untoldBytes >= WINDOW_STEP_BYTES) await this.#tellWindow();
      }
      if (!this.#stdinEnded) return;
      if (!this.#streams.isTerminal) this.#streams.stdin.close();
      else await this.#writeStdin(Uint8Array.of(END_OF_TRANSMISSION));
    } finally {
      this.#feeding = false;
    }
  }

  async #tellWindow(): Promise<void> {
    const bytes = this.#untoldBytes;
    this.#untoldBytes = 0;
    await this.#sink.window(bytes);
  }

  async #writeStdin(bytes: Uint8Array): Promise<void> {
    try {
      await writeFully((part) => this.#streams.stdin.write(part), bytes);
    } catch (failure) {
      // The command has closed its stdin, as it may: the rest is for nobody.
      if (!(failure instanceof BangerError) || failure.code !== "connection_failed") throw failure;
    }
  }

  /**
   * All that the command itself printed lies in the pipe when it has ended; it is passed on, however long
   * the client takes. What else holds the pipe open gets only a moment more.
   */
  async #passOn(stream: DescriptorStream, type: number): Promise<void> {
    const buffer = new ChunkBuffer(READ_BYTES, FRAME_HEADER_BYTES);
    /** What lay in the pipe at the first look after the end; for a terminal, what may lie there at most. */
    let owedBytes: number | undefined;
    let hasEnded = false;
    let isLingerOver = false;
    let isWaiting = false;
    let isOver = false;
    let timer: number | undefined;
    const endLinger = () => {
      isLingerOver = true;
      if (isWaiting && stream.readableBytes() === 0) stream.close();
    };
    this.#exited.then(() => {
      hasEnded = true;
      if (!isOver) timer = setTimeout(endLinger, LINGER_MS);
    }, () => stream.close());
    try {
      for (;;) {
        // Here, where no read is under way: what one has taken already must not count as owed.
        if (hasEnded) owedBytes ??= this.#streams.isTerminal ? TERMINAL_BYTES : stream.readableBytes();
        if (isLingerOver) {
          if (owedBytes !== undefined && owedBytes <= 0) break;
          clearTimeout(timer);
          timer = setTimeout(endLinger, SILENCE_MS);
        }
        isWaiting = true;
        const count = await stream.read(buffer.space);
        isWaiting = false;
        if (count === null) break;
        if (owedBytes !== undefined) owedBytes -= count;
        await this.#sink.output(type, buffer, count);
      }
    } finally {
      isOver = true;
      clearTimeout(timer);
    }
  }
}

function beyondWindow(): BangerError {
  return new BangerError("corrupt_data", "Cannot take a command's stdin: it is beyond its window or its end");
}
