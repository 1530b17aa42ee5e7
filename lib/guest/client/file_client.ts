import { BangerError } from "../../base/errors.ts";
import type { Host } from "../../base/host.ts";
import {
  type FileIn,
  fileInTarget,
  type FileOut,
  fileOutTarget,
  MAX_FILE_LINE_BYTES,
  parseFileOut,
} from "../wire/files.ts";
import type { Body, Fields } from "../wire/http.ts";
import { WINDOW_FIELD } from "../wire/window.ts";
import { AgentClient } from "./agent_client.ts";
import { type AgentEndpoint, type GuestStream, unreachable } from "./endpoint.ts";
import { FileSender } from "./file_sender.ts";
import type { HostWindow } from "./host_window.ts";

const NEWLINE = 0x0a;

/** A file of the guest's, opened. Leaving it early (`close`) ends its sending. */
export interface OpenGuestFile extends Disposable, FileOut {
  /** All of its bytes, once; each chunk is valid until the next. @throws {BangerError} where fewer come */
  read(): AsyncGenerator<Uint8Array>;
}

interface OpenStream extends Disposable {
  readonly connection: GuestStream["connection"];
  readonly body: Body;
  readonly fields: Fields;
}

/** Single files, straight between the connection and the guest's file system; see `wire/files.ts`. */
export class FileClient {
  readonly #agent: AgentClient;

  constructor(host: Pick<Host, "sockets" | "clock">, endpoint: AgentEndpoint) {
    this.#agent = new AgentClient(host, endpoint);
  }

  /**
   * Puts a file into the guest. Where `content` throws, nothing is left of it there.
   *
   * @returns false, with `content` not begun, where the guest does not take it so: an agent that is too old, or
   * anything in the way; with `needsWindow` also where it could not go through the window
   * @throws {BangerError} why it could not be kept; what `content` throws
   */
  async send(
    file: FileIn,
    content: () => AsyncIterable<Uint8Array>,
    signal: AbortSignal,
    { window, needsWindow = false }: { window?: HostWindow | undefined; needsWindow?: boolean } = {},
  ): Promise<boolean> {
    const usesWindow = window !== undefined;
    const opened = await this.#open(fileInTarget({ ...file, usesWindow }), signal);
    if (!opened) return false;
    using stream = opened;
    const name = usesWindow ? stream.fields.get(WINDOW_FIELD) : undefined;
    await using slots = name === undefined ? undefined : await window?.take(name);
    if (needsWindow && !slots) return false;
    const sender = new FileSender(stream.connection, stream.body, signal);
    if (name !== undefined) await sender.useWindow(slots);
    for await (const bytes of content()) await sender.send(bytes);
    await sender.finish();
    return true;
  }

  /**
   * Opens a regular file of the guest's.
   *
   * @returns undefined where the guest does not give it so: it is something else, or the agent is too old
   */
  async open(
    path: string,
    user: string | undefined,
    signal: AbortSignal,
  ): Promise<OpenGuestFile | undefined> {
    const stream = await this.#open(fileOutTarget(path, user), signal);
    if (!stream) return undefined;
    try {
      const { line, rest } = await readLine(stream.body);
      const file = parseFileOut(line);
      return {
        ...file,
        read: () => contentOf(stream.body, file.sizeBytes, rest),
        [Symbol.dispose]: () => stream[Symbol.dispose](),
      };
    } catch (thrown) {
      stream[Symbol.dispose]();
      signal.throwIfAborted();
      throw thrown;
    }
  }

  /** @returns undefined where the agent refuses, for whatever reason: the other way to copy tells it better */
  async #open(
    target: string | undefined,
    signal: AbortSignal,
  ): Promise<OpenStream | undefined> {
    signal.throwIfAborted();
    if (target === undefined) return undefined;
    try {
      const { stream: { connection }, body, fields } = await this.#agent.openBytes(target);
      const close = () => connection.close();
      signal.addEventListener("abort", close);
      return {
        connection,
        body,
        fields,
        [Symbol.dispose]() {
          signal.removeEventListener("abort", close);
          close();
        },
      };
    } catch (thrown) {
      if (thrown instanceof BangerError && thrown.code !== "guest_unreachable") return undefined;
      throw thrown;
    }
  }
}

async function readLine(body: Body): Promise<{ line: Uint8Array; rest: Uint8Array }> {
  let read = new Uint8Array(0);
  for (;;) {
    const newline = read.indexOf(NEWLINE);
    if (newline >= 0) return { line: read.subarray(0, newline), rest: read.subarray(newline + 1) };
    const more = await body.read();
    if (more === null || read.length > MAX_FILE_LINE_BYTES) {
      throw new BangerError("corrupt_data", "Cannot read a file's attributes from the guest");
    }
    const joined = new Uint8Array(read.length + more.length);
    joined.set(read);
    joined.set(more, read.length);
    read = joined;
  }
}

async function* contentOf(body: Body, sizeBytes: number, first: Uint8Array): AsyncGenerator<Uint8Array> {
  let left = sizeBytes;
  for (let bytes: Uint8Array | null = first; bytes !== null; bytes = await readBody(body)) {
    left -= bytes.length;
    if (left < 0) {
      throw new BangerError("corrupt_data", "Cannot take a file from the guest: more came than it has");
    }
    if (bytes.length > 0) yield bytes;
  }
  if (left > 0) {
    throw new BangerError("corrupt_data", "Cannot take a file from the guest: less came than it has");
  }
}

async function readBody(body: Body): Promise<Uint8Array | null> {
  try {
    return await body.read();
  } catch (failure) {
    if (failure instanceof BangerError && failure.code === "corrupt_data") throw failure;
    throw unreachable("the connection ended inside the file", failure);
  }
}
