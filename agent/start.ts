import type { Log } from "../lib/base/host.ts";
import { cString, F_OK, type Libc } from "./libc.ts";

const LOOK_AGAIN_MS = 5;
/** setpriority(2)'s kind: a process's number, which on Linux names one thread */
const PRIO_PROCESS = 0;
const PRIORITY_OF_COMMANDS = 0;

/**
 * For an agent that is started while its machine still comes up (`lib/guest/files/agent_start.ts`): with priority,
 * since whoever waits for the boot waits for its first answer.
 *
 * Resolves once the file is there. From then on it has no priority over what it starts.
 */
export async function untilReady(libc: Libc, path: string, log: Log): Promise<void> {
  const file = cString(path);
  while (libc.call.access(file, F_OK) !== 0) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
  }
  for (const { name } of Deno.readDirSync("/proc/self/task")) {
    if (libc.call.setpriority(PRIO_PROCESS, Number(name), PRIORITY_OF_COMMANDS) === 0) continue;
    log("warn", "a thread keeps its priority", { thread: name }); // or it has just ended
  }
}
