import { reasonOf } from "../base/errors.ts";
import type { Host } from "../base/host.ts";

/** What happened to a VM, for `vm show` and `vm logs --events`. */
export interface VmEvent {
  /** ISO 8601 */
  readonly time: string;
  readonly event: string;
  readonly detail?: string;
}

const KEPT_EVENTS = 200;
const MAX_FILE_BYTES = 1024 * 1024;
const MAX_DETAIL_CHARACTERS = 2000;

/** A short list of events in one file beside the VM's disks: one JSON object a line, oldest first. */
export class VmEvents {
  readonly #deps: Pick<Host, "files" | "clock" | "log">;

  constructor(deps: Pick<Host, "files" | "clock" | "log">) {
    this.#deps = deps;
  }

  /** What happened has happened: where it cannot be written down, the log gets it, and nothing fails for it. */
  async add(path: string, event: string, detail?: string): Promise<void> {
    const { files, clock, log } = this.#deps;
    const time = new Date(clock.now()).toISOString();
    const added: VmEvent = detail === undefined
      ? { time, event }
      : { time, event, detail: detail.slice(0, MAX_DETAIL_CHARACTERS) };
    try {
      const events = [...await this.list(path), added].slice(-KEPT_EVENTS);
      await files.writeAtomic(path, events.map((one) => `${JSON.stringify(one)}\n`).join(""));
    } catch (thrown) {
      log("error", "cannot write down what happened to a VM", {
        path,
        event: added,
        reason: reasonOf(thrown),
      });
    }
  }

  /** Lines that are no events are left out. */
  async list(path: string): Promise<VmEvent[]> {
    const { files } = this.#deps;
    if (!(await files.stat(path))) return [];
    const lines = (await files.readText(path, MAX_FILE_BYTES)).split("\n").filter(Boolean);
    return lines.map(parseEvent).filter((event) => event !== undefined);
  }
}

function parseEvent(line: string): VmEvent | undefined {
  try {
    const { time, event, detail } = JSON.parse(line) as Record<string, unknown>;
    if (typeof time !== "string" || typeof event !== "string") return undefined;
    return typeof detail === "string" ? { time, event, detail } : { time, event };
  } catch (thrown) {
    if (thrown instanceof SyntaxError || thrown instanceof TypeError) return undefined;
    throw thrown;
  }
}
