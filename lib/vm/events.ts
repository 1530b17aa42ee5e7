import type { Clock, Files } from "../base/host.ts";

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
  readonly #deps: { files: Files; clock: Clock };

  constructor(deps: { files: Files; clock: Clock }) {
    this.#deps = deps;
  }

  async add(path: string, event: string, detail?: string): Promise<void> {
    const { files, clock } = this.#deps;
    const time = new Date(clock.now()).toISOString();
    const added: VmEvent = detail === undefined
      ? { time, event }
      : { time, event, detail: detail.slice(0, MAX_DETAIL_CHARACTERS) };
    const events = [...await this.list(path), added].slice(-KEPT_EVENTS);
    await files.writeAtomic(path, events.map((one) => `${JSON.stringify(one)}\n`).join(""));
  }

  async list(path: string): Promise<VmEvent[]> {
    const { files } = this.#deps;
    if (!(await files.stat(path))) return [];
    const lines = (await files.readText(path, MAX_FILE_BYTES)).split("\n").filter(Boolean);
    return lines.map((line) => JSON.parse(line) as VmEvent);
  }
}
