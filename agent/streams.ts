import type { ExecStart } from "../lib/guest/wire/exec.ts";
import { type Descriptors, DescriptorStream } from "./descriptor.ts";
import { bytesOf, checked, F_SETPIPE_SZ, type Libc, O_CLOEXEC } from "./libc.ts";
import type { ChildStreams } from "./spawn.ts";
import { openTerminal } from "./terminal.ts";

/** Larger than the default 64 KiB: a command that prints a lot is woken less often. */
const PIPE_BYTES = 256 * 1024;

/** Both ends of a command's standard streams. */
export interface CommandStreams {
  readonly child: ChildStreams;
  readonly isTerminal: boolean;
  readonly stdin: DescriptorStream;
  /** With a terminal the same as `stdin`. */
  readonly stdout: DescriptorStream;
  /** Absent with a terminal. */
  readonly stderr: DescriptorStream | undefined;
  /** Once the child has its own. */
  closeChildSide(): void;
  close(): void;
}

export function openStreams(descriptors: Descriptors, start: Pick<ExecStart, "terminal">): CommandStreams {
  return start.terminal ? openTerminalStreams(descriptors, start.terminal) : openPipes(descriptors);
}

function openTerminalStreams(
  descriptors: Descriptors,
  size: NonNullable<ExecStart["terminal"]>,
): CommandStreams {
  const { stream, path } = openTerminal(descriptors, size);
  return {
    child: { kind: "terminal", path },
    isTerminal: true,
    stdin: stream,
    stdout: stream,
    stderr: undefined,
    closeChildSide: () => {},
    close: () => stream.close(),
  };
}

function openPipes(descriptors: Descriptors): CommandStreams {
  const { libc } = descriptors;
  const opened: number[] = [];
  try {
    const stdin = openPipe(libc, opened);
    const stdout = openPipe(libc, opened);
    const stderr = openPipe(libc, opened);
    const ours = [
      new DescriptorStream(descriptors, stdin.write),
      new DescriptorStream(descriptors, stdout.read),
      new DescriptorStream(descriptors, stderr.read),
    ] as const;
    const childSide = [stdin.read, stdout.write, stderr.write];
    return {
      child: { kind: "pipes", stdin: stdin.read, stdout: stdout.write, stderr: stderr.write },
      isTerminal: false,
      stdin: ours[0],
      stdout: ours[1],
      stderr: ours[2],
      closeChildSide: () => childSide.splice(0).forEach((fd) => libc.call.close(fd)),
      close: () => ours.forEach((stream) => stream.close()),
    };
  } catch (failure) {
    for (const fd of opened) libc.call.close(fd);
    throw failure;
  }
}

function openPipe(libc: Libc, opened: number[]): { read: number; write: number } {
  const ends = new Int32Array(2);
  checked(libc, "pipe2", libc.call.pipe2(bytesOf(ends), O_CLOEXEC));
  const [read, write] = [ends[0]!, ends[1]!];
  opened.push(read, write);
  // Refused beyond the user's share of pipe memory: the default size does, too.
  libc.call.fcntl(read, F_SETPIPE_SZ, PIPE_BYTES);
  return { read, write };
}
