import { BangerError } from "../../base/errors.ts";
import { writeFully } from "../../base/bytes.ts";
import type { Connection, Host } from "../../base/host.ts";
import { quote } from "../../base/names.ts";
import { type Deadline, withDeadline } from "../deadline.ts";
import { LineReader } from "../line_reader.ts";

/** QEMU's longest answers (schema, devices) are some hundred KiB; ours are far below. */
const MAX_LINE_BYTES = 1024 * 1024;
/** A guest can make QEMU send events; a command's answer still comes soon after. */
const MAX_EVENTS_PER_COMMAND = 10_000;

export interface QmpCommand {
  readonly name: string;
  readonly args?: Readonly<Record<string, unknown>>;
}

/** QEMU's own refusal of a command. Kept apart from a QMP that does not answer. */
export class QmpRefusal extends Error {
  override readonly name = "QmpRefusal";

  constructor(readonly command: string, readonly errorClass: string, readonly description: string) {
    super(`QEMU refuses ${command}: ${description}`);
  }
}

/**
 * Connects, negotiates, runs the commands one after another, and hangs up. QEMU serves one QMP client at a
 * time, so a client that stays connected would shut out the next daemon.
 *
 * @param deadline for everything together
 * @returns each command's `return` value, untrusted
 * @throws {QmpRefusal} a command was refused; the ones after it were not sent
 * @throws {BangerError} `connection_failed`, `corrupt_data`, the signal's reason, or what connecting threw
 */
export async function runQmpCommands(
  host: Pick<Host, "sockets" | "clock">,
  socketPath: string,
  commands: readonly QmpCommand[],
  deadline: Deadline,
): Promise<unknown[]> {
  const connection = await host.sockets.connectUnix(socketPath);
  const session = new QmpSession(connection);
  return await withDeadline(host.clock, connection, deadline, `QEMU over ${socketPath}`, async () => {
    await session.negotiate();
    const results: unknown[] = [];
    for (const command of commands) results.push(await session.execute(command));
    return results;
  });
}

/**
 * One QMP conversation: JSON objects, one a line. Source: QEMU docs/interop/qmp-spec, sections 2.2 to 2.5.
 * Exported for tests.
 */
export class QmpSession {
  readonly #connection: Connection;
  readonly #lines: LineReader;
  #nextId = 1;

  constructor(connection: Connection) {
    this.#connection = connection;
    this.#lines = new LineReader((into) => connection.read(into), "QEMU's QMP", MAX_LINE_BYTES);
  }

  /**
   * Waits for the greeting and leaves negotiation mode. In front of it may stand what QEMU still had to say to
   * a client before this one, which hung up too soon.
   */
  async negotiate(): Promise<void> {
    for (let skipped = 0;; skipped++) {
      const message = await this.#message();
      if ("QMP" in message) break;
      const isLeftOver = "return" in message || "error" in message || "event" in message;
      if (!isLeftOver || skipped >= MAX_EVENTS_PER_COMMAND) throw garbage("its first message is no greeting");
    }
    await this.execute({ name: "qmp_capabilities" });
  }

  /** @throws {QmpRefusal} */
  async execute(command: QmpCommand): Promise<unknown> {
    const id = this.#nextId++;
    const request = { execute: command.name, ...(command.args ? { arguments: command.args } : {}), id };
    const line = new TextEncoder().encode(`${JSON.stringify(request)}\n`);
    await writeFully((bytes) => this.#connection.write(bytes), line);
    for (let skipped = 0; skipped < MAX_EVENTS_PER_COMMAND; skipped++) {
      const message = await this.#message();
      if ("event" in message) continue;
      if ("error" in message) throw refusal(command.name, message.error);
      // An error to a line that QEMU could not parse has no id; every other answer has ours.
      if (message.id !== id) throw garbage("it answers another command");
      if (!("return" in message)) throw garbage("an answer has neither return nor error");
      return message.return;
    }
    throw garbage("it sends events and no answer");
  }

  async #message(): Promise<Record<string, unknown>> {
    const line = await this.#lines.next();
    if (line === undefined) {
      throw new BangerError("connection_failed", "Cannot talk to QEMU: it closed its QMP socket");
    }
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch (thrown) {
      throw garbage("a line is no JSON", thrown);
    }
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw garbage("a line is no JSON object");
    }
    return value as Record<string, unknown>;
  }
}

function refusal(command: string, error: unknown): Error {
  if (typeof error !== "object" || error === null) return garbage("an error is no object");
  const { class: errorClass, desc } = error as Record<string, unknown>;
  if (typeof errorClass !== "string" || typeof desc !== "string") return garbage("an error has no text");
  return new QmpRefusal(command, errorClass, quote(desc));
}

function garbage(why: string, cause?: unknown): BangerError {
  return new BangerError("corrupt_data", `Cannot understand QEMU's QMP: ${why}`, undefined, { cause });
}
