import { writeFully } from "../base/bytes.ts";
import type { Terminal } from "../base/terminal.ts";
import { systemCode } from "./os_errors.ts";

/** What sh reports for a program that SIGPIPE ended. */
const SIGPIPE_EXIT_CODE = 141;

export function systemTerminal(): Terminal {
  return {
    stdinIsTerminal: Deno.stdin.isTerminal(),
    stdoutIsTerminal: Deno.stdout.isTerminal(),
    stderrIsTerminal: Deno.stderr.isTerminal(),
    type: Deno.env.get("TERM") ?? "dumb",
    readStdin: (into) => Deno.stdin.read(into),
    writeStdout: (bytes) => write(Deno.stdout, bytes),
    writeStderr: (bytes) => write(Deno.stderr, bytes),
    setRaw: (raw) => Deno.stdin.setRaw(raw),
    size: () => {
      try {
        return Deno.consoleSize();
      } catch {
        return { rows: 24, columns: 80 }; // no terminal: what terminals were
      }
    },
    onResize: (handler) => onSignal("SIGWINCH", handler),
    onSignal,
  };
}

function onSignal(signal: Deno.Signal, handler: () => void): Disposable {
  Deno.addSignalListener(signal, handler);
  return { [Symbol.dispose]: () => Deno.removeSignalListener(signal, handler) };
}

async function write(to: typeof Deno.stdout | typeof Deno.stderr, bytes: Uint8Array): Promise<void> {
  try {
    await writeFully((rest) => to.write(rest), bytes);
  } catch (thrown) {
    if (systemCode(thrown) === "EPIPE" || thrown instanceof Deno.errors.BrokenPipe) {
      Deno.exit(SIGPIPE_EXIT_CODE);
    }
    throw thrown;
  }
}
