import { writeFully } from "../../base/bytes.ts";
import { BangerError } from "../../base/errors.ts";
import type { Connection } from "../../base/host.ts";
import { MAX_FILE_LINE_BYTES, parseFileInEnd } from "../wire/files.ts";
import { type Body, encodeChunk, LAST_CHUNK } from "../wire/http.ts";
import { ACKNOWLEDGEMENT, BYTES_FOLLOW, encodeSlotLength, SLOT_BYTES, SLOTS } from "../wire/window.ts";
import { unreachable } from "./endpoint.ts";
import type { WindowSlots } from "./host_window.ts";

const CRLF = new TextEncoder().encode("\r\n");

/** A file's bytes on their way into the guest: as they are, or through its window. */
export class FileSender {
  readonly #connection: Pick<Connection, "write">;
  readonly #signal: AbortSignal;
  readonly #answer: FileAnswer;
  /** Undefined once bytes go as they are. */
  #slots: WindowSlots | undefined;
  /** Slots that the guest was told of. */
  #announced = 0;
  /** Of the slot that comes next. */
  #filledBytes = 0;

  constructor(connection: Pick<Connection, "write">, answer: Body, signal: AbortSignal) {
    this.#connection = connection;
    this.#signal = signal;
    this.#answer = new FileAnswer(answer);
  }

  /**
   * Before the first byte, where the guest reads from its window.
   *
   * @param slots undefined where the window cannot be had
   */
  async useWindow(slots: WindowSlots | undefined): Promise<void> {
    this.#slots = slots;
    if (!slots) await this.#writeChunk(encodeSlotLength(BYTES_FOLLOW));
  }

  /** @throws {BangerError} why the guest takes no more */
  async send(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      if (!this.#slots) return await this.#sendPlain(bytes.subarray(at));
      if (this.#filledBytes === 0) await this.#untilRead(this.#announced - SLOTS + 1);
      const part = bytes.subarray(at, at + SLOT_BYTES - this.#filledBytes);
      if (await this.#slots.write(this.#announced, this.#filledBytes, part)) {
        this.#filledBytes += part.length;
        at += part.length;
        if (this.#filledBytes === SLOT_BYTES) await this.#announce();
      } else {
        await this.#announce();
        await this.useWindow(undefined);
      }
    }
  }

  /** Tells the guest that this is all, and waits until it has the file in its place. */
  async finish(): Promise<void> {
    await this.#announce();
    // Whoever has the window next overwrites it: the file is whole only once all of it was read.
    await this.#untilRead(this.#announced);
    await this.#write(LAST_CHUNK);
    const reason = await this.#answer.end.catch((failure) => {
      this.#signal.throwIfAborted();
      throw lost(failure);
    });
    if (reason) throw reason;
  }

  async #announce(): Promise<void> {
    if (this.#filledBytes === 0) return;
    await this.#writeChunk(encodeSlotLength(this.#filledBytes));
    this.#announced++;
    this.#filledBytes = 0;
  }

  async #untilRead(count: number): Promise<void> {
    if (!(await this.#answer.untilRead(count))) throw await this.#reasonOr(undefined);
    if (this.#answer.slotsRead > this.#announced) {
      throw new BangerError("corrupt_data", "Cannot send a file: the guest has read more than was sent");
    }
  }

  /** They are sent where they lie: a copy of each would cost as much as the rest. */
  async #sendPlain(bytes: Uint8Array): Promise<void> {
    if (bytes.length === 0) return;
    await this.#write(new TextEncoder().encode(`${bytes.length.toString(16)}\r\n`));
    await this.#write(bytes);
    await this.#write(CRLF);
  }

  async #writeChunk(bytes: Uint8Array): Promise<void> {
    await this.#write(encodeChunk(bytes));
  }

  async #write(bytes: Uint8Array): Promise<void> {
    try {
      await writeFully((part) => this.#connection.write(part), bytes);
    } catch (failure) {
      throw await this.#reasonOr(failure);
    }
  }

  /** A guest that takes no more says why, and closes. */
  async #reasonOr(failure: unknown): Promise<unknown> {
    this.#signal.throwIfAborted();
    return (await this.#answer.end.catch(() => undefined)) ?? lost(failure);
  }
}

/** What the guest says meanwhile: a byte for each slot that it has read, then JSON. */
class FileAnswer {
  /** Why it could not keep the file, if so. */
  readonly end: Promise<BangerError | undefined>;
  slotsRead = 0;
  #isOver = false;
  #wake = () => {};

  constructor(body: Body) {
    this.end = this.#read(body).finally(() => {
      this.#isOver = true;
      this.#wake();
    });
    this.end.catch(() => {}); // awaited when the file is sent, unless that fails before
  }

  /** @returns false where the guest says no more and has not read so many */
  async untilRead(count: number): Promise<boolean> {
    while (this.slotsRead < count) {
      if (this.#isOver) return false;
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    return true;
  }

  async #read(body: Body): Promise<BangerError | undefined> {
    const json = new Uint8Array(MAX_FILE_LINE_BYTES);
    let length = 0;
    for (let part = await body.read(); part !== null; part = await body.read()) {
      let at = 0;
      if (length === 0) { while (part[at] === ACKNOWLEDGEMENT) at++; }
      this.slotsRead += at;
      const rest = part.subarray(at);
      if (length + rest.length > json.length) {
        throw new BangerError("corrupt_data", "Cannot read how a copy ended: the guest says too much");
      }
      json.set(rest, length);
      length += rest.length;
      this.#wake();
    }
    return parseFileInEnd(json.subarray(0, length));
  }
}

function lost(failure: unknown): BangerError {
  return unreachable("the connection ended before the file was written", failure);
}
