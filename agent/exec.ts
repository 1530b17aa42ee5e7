import { BangerError, reasonOf } from "../lib/base/errors.ts";
import type { Log } from "../lib/base/host.ts";
import {
  encodeWindow,
  EXEC_FRAME,
  type ExecFailure,
  type ExecStart,
  parseExecStart,
  parseGuestJson,
} from "../lib/guest/wire/exec.ts";
import { encodeFrame, type Frame, FrameDecoder, putFrameHeader } from "../lib/guest/wire/frames.ts";
import type { Exchange } from "./exchange.ts";
import { CommandFailure, resolveCommand, type ResolvedCommand, startCommand } from "./command.ts";
import type { Descriptors } from "./descriptor.ts";
import { type CommandSink, RunningCommand } from "./running_command.ts";
import { openStreams } from "./streams.ts";

const encoder = new TextEncoder();

/** `POST /v1/exec`; the protocol is in `lib/guest/wire/exec.ts`. */
export async function serveExec(descriptors: Descriptors, exchange: Exchange, log: Log): Promise<void> {
  const input = new FrameInput(exchange);
  const start = await input.start();
  let command: RunningCommand;
  try {
    command = startRunning(descriptors, start, frameSink(exchange));
  } catch (failure) {
    if (!(failure instanceof BangerError)) throw failure;
    const exitCode = failure instanceof CommandFailure ? failure.commandExitCode : 125;
    await exchange.end(
      encodeFrame(EXEC_FRAME.failed, encodeJson({ error: failure.toBody(), exitCode } satisfies ExecFailure)),
    );
    return;
  }
  // Reading goes on beside it until the exchange is over: it is how a client that has gone is noticed.
  const reading = input.forEach((frame) => command.takeFrame(frame)).then(
    () => exchange.untilGone(),
    (failure) => {
      // A client that has gone, as it may; or one that does not keep to the protocol.
      const hasGone = failure instanceof BangerError && failure.code === "connection_failed";
      log(hasGone ? "debug" : "warn", "exec's input ended", { reason: reasonOf(failure) });
    },
  ).then(() => command.abandon());
  try {
    await exchange.send(encodeFrame(EXEC_FRAME.started, encodeJson({ pid: command.pid })));
    const status = await command.finish();
    await exchange.end(encodeFrame(EXEC_FRAME.exited, encodeJson(status)));
  } finally {
    command.abandon();
    exchange.close();
    await reading;
    await command.untilReaped();
  }
}

/** @returns what sends a command's output as frames */
function frameSink(exchange: Exchange): CommandSink {
  return {
    output: (type, buffer, count) =>
      exchange.sendChunk(buffer.chunk(count, (into, at) => putFrameHeader(into, at, type, count))),
    window: (bytes) => exchange.send(encodeFrame(EXEC_FRAME.stdinWindow, encodeWindow(bytes))),
  };
}

/** @throws {BangerError} saying why it cannot start; `CommandFailure` has the exit code that says so, too */
export function startRunning(
  descriptors: Descriptors,
  start: ExecStart,
  sink: CommandSink,
  resolved: ResolvedCommand = resolveCommand(descriptors.libc, start),
): RunningCommand {
  const streams = openStreams(descriptors, start);
  try {
    const pid = startCommand(descriptors.libc, resolved, streams.child);
    const command = new RunningCommand(descriptors, pid, streams, sink);
    if (start.stdinClosed) command.endStdin();
    return command;
  } catch (failure) {
    streams.close();
    throw failure;
  } finally {
    streams.closeChildSide();
  }
}

/** The request's frames. */
class FrameInput {
  readonly #exchange: Exchange;
  readonly #decoder = new FrameDecoder([EXEC_FRAME.stdin]);
  /** What came in one piece with `start`. */
  #pending: Iterator<Frame> | undefined;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /** @throws {BangerError} where the first frame is no `start` that can be understood */
  async start(): Promise<ExecStart> {
    for (;;) {
      const bytes = await this.#exchange.body.read();
      if (bytes === null) {
        throw new BangerError("invalid_argument", "Cannot run a command: the request is empty");
      }
      // Copied: the frames behind the first are still to be read when the buffer has other bytes.
      const frames = this.#decoder.push(bytes.slice());
      const first = frames.next();
      if (first.done) continue;
      if (first.value.type !== EXEC_FRAME.start) {
        throw new BangerError(
          "invalid_argument",
          "Cannot run a command: the request does not begin with start",
        );
      }
      this.#pending = frames;
      return parseExecStart(parseGuestJson(first.value.payload, "a command to run"));
    }
  }

  /** @returns at the body's end */
  async forEach(take: (frame: Frame) => void): Promise<void> {
    for (let next = this.#pending?.next(); next && !next.done; next = this.#pending?.next()) take(next.value);
    for (let bytes; (bytes = await this.#exchange.body.read()) !== null;) {
      for (const frame of this.#decoder.push(bytes)) take(frame);
    }
  }
}

function encodeJson(value: unknown): Uint8Array {
  return encoder.encode(JSON.stringify(value));
}
