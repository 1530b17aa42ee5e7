import type { Connection, Log } from "../lib/base/host.ts";
import { cString, F_OK, type Libc } from "./libc.ts";

const LOOK_AGAIN_MS = 5;
/** setpriority(2)'s kind: a process's number, which on Linux names one thread */
const PRIO_PROCESS = 0;
const PRIORITY_OF_COMMANDS = 0;
const FIRST_REQUEST = new TextEncoder().encode("GET /healthz HTTP/1.1\r\nhost: banger\r\n\r\n");

/**
 * For an agent that is started while its machine still comes up (`lib/guest/files/agent_start.ts`): with priority,
 * since whoever waits for the boot waits for its first answer. It gives that answer to itself meanwhile, so that
 * what runs then was compiled, and where the machine is emulated translated, before.
 *
 * Resolves once the file is there. It has no priority then over what it starts.
 *
 * @param serve never throws
 */
export async function untilReady(
  libc: Libc,
  path: string,
  serve: (connection: Connection) => Promise<void>,
  log: Log,
): Promise<void> {
  const file = cString(path);
  const isReady = () => libc.call.access(file, F_OK) === 0;
  if (!isReady()) await serve(new Rehearsal());
  for (const { name } of Deno.readDirSync("/proc/self/task")) {
    if (libc.call.setpriority(PRIO_PROCESS, Number(name), PRIORITY_OF_COMMANDS) === 0) continue;
    log("warn", "a thread keeps its priority", { thread: name }); // or it has just ended
  }
  while (!isReady()) await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
}

/** Somebody who asks for the agent's health and drops the answer. */
class Rehearsal implements Connection {
  #asked = false;

  read(into: Uint8Array): Promise<number | null> {
    if (this.#asked) return Promise.resolve(null);
    this.#asked = true;
    into.set(FIRST_REQUEST);
    return Promise.resolve(FIRST_REQUEST.length);
  }

  write(bytes: Uint8Array): Promise<number> {
    return Promise.resolve(bytes.length);
  }

  closeWrite(): Promise<void> {
    return Promise.resolve();
  }

  close(): void {}
}
