import { reasonOf } from "../base/errors.ts";
import type { Host } from "../base/host.ts";

/** What happened to a VM, for `vm show` and `vm logs --events`. */
export interface VmEvent {
  /** ISO 8601 */
  readonly time: string;
  readonly event: string;
  readonly detail?: string;
}

const NEWLINE = 10;
const KEPT_EVENTS = 200;
const MAX_FILE_BYTES = 1024 * 1024;
/** A file that grows beyond is written anew, with what is kept. */
const TRIMMED_FROM_BYTES = 64 * 1024;
const MAX_DETAIL_CHARACTERS = 2000;

/**
 * A short list of events in one file beside the VM's disks: one JSON object a line, oldest first. A line is added
 * without waiting for the host's disk, since each change of a VM adds one: a power cut may take the last of them.
 */
export class VmEvents {
  readonly #deps: Pick<Host, "files" | "clock" | "log">;

  constructor(deps: Pick<Host, "files" | "clock" | "log">) {
    this.#deps = deps;
  }

  /** What happened has happened: where it cannot be written down, the log gets it, and nothing fails for it. */
  async add(path: string, event: string, detail?: string): Promise<void> {
    const { clock, log } = this.#deps;
    const time = new Date(clock.now()).toISOString();
    const added: VmEvent = detail === undefined
      ? { time, event }
      : { time, event, detail: detail.slice(0, MAX_DETAIL_CHARACTERS) };
    try {
      await this.#append(path, added);
    } catch (thrown) {
      log("error", "cannot write down what happened to a VM", {
        path,
        event: added,
        reason: reasonOf(thrown),
      });
    }
  }

  async #append(path: string, event: VmEvent): Promise<void> {
    const { files } = this.#deps;
    await using file = await files.open(path, { read: true, write: true, create: true, mode: 0o600 });
    const sizeBytes = await file.sizeBytes();
    if (sizeBytes > TRIMMED_FROM_BYTES) {
      const kept = [...await this.list(path), event].slice(-KEPT_EVENTS);
      return await files.writeAtomic(path, kept.map(lineOf).join(""));
    }
    const last = new Uint8Array(1);
    if (sizeBytes > 0) await file.readAt(last, sizeBytes - 1);
    // One that a full disk cut off takes no other with it.
    const isCutOff = sizeBytes > 0 && last[0] !== NEWLINE;
    await file.writeAt(new TextEncoder().encode(`${isCutOff ? "\n" : ""}${lineOf(event)}`), sizeBytes);
  }

  /** Lines that are no events are left out. */
  async list(path: string): Promise<VmEvent[]> {
    const { files } = this.#deps;
    if (!(await files.stat(path))) return [];
    const lines = (await files.readText(path, MAX_FILE_BYTES)).split("\n").filter(Boolean);
    return lines.map(parseEvent).filter((event) => event !== undefined).slice(-KEPT_EVENTS);
  }
}

function lineOf(event: VmEvent): string {
  return `${JSON.stringify(event)}\n`;
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
