import { BangerError } from "../base/errors.ts";
import {
  type GuestPlace,
  lookAtSource,
  receiveInGuest,
  sendFromGuest,
  type SourceKind,
} from "./guest_side.ts";
import { type HostSide, lookAtHostSource, readHostSource, writeHostTarget } from "./host_side.ts";
import { openOneFile, sendOneFile, writeAsTar } from "./one_file.ts";
import { type SplitPath, splitPath } from "./places.ts";
import type { Received } from "./receive.ts";

/** One end of a copy, ready to be used. */
export type CopyEnd =
  | ({ readonly kind: "guest" } & GuestPlace)
  | { readonly kind: "host"; readonly path: string }
  /** A tar: read as a source, written as a target. */
  | {
    readonly kind: "stream";
    readonly read: () => AsyncIterable<Uint8Array>;
    readonly write: (bytes: Uint8Array) => Promise<void>;
  };

export interface CopyOptions {
  readonly keepsOwners: boolean;
  /** @param bytes as they pass */
  readonly onProgress: (bytes: number) => void;
  readonly signal: AbortSignal;
}

/** What is copied, looked at before the first byte. */
interface Source {
  readonly split: SplitPath;
  readonly kind: SourceKind;
}

/**
 * Copies files and trees as one stream: nothing is held in memory, and nothing of the guest's is trusted.
 *
 * @returns what was written to this host, where it went there
 * @throws {BangerError} `invalid_argument` where no end is in a guest; what stands in the way at either end
 */
export async function copy(
  host: HostSide,
  from: CopyEnd,
  to: CopyEnd,
  options: CopyOptions,
): Promise<Received | undefined> {
  if (from.kind !== "guest" && to.kind !== "guest") {
    throw new BangerError(
      "invalid_argument",
      "Cannot copy: neither end is in a VM",
      "Write one of them as VM:PATH, such as web:/etc/hosts",
    );
  }
  if (from.kind === "guest") return await fromGuest(host, from, to, options);
  if (to.kind !== "guest") return undefined;
  if (from.kind === "host" && await sendOneFile(host, from.path, to, options)) return undefined;
  const source = from.kind === "host"
    ? await lookAt(from.path, (split) => lookAtHostSource(host, from.path, split))
    : undefined;
  const bytes = from.kind === "host"
    ? readHostSource(host, from.path, source!.split, options.signal)
    : from.read();
  await receiveInGuest(to, asSent(source, options), counted(bytes, options.onProgress, options.signal));
  return undefined;
}

async function lookAt(path: string, look: (split: SplitPath) => Promise<SourceKind>): Promise<Source> {
  const split = splitPath(path);
  return { split, kind: await look(split) };
}

function asSent(source: Source | undefined, { keepsOwners }: CopyOptions) {
  if (!source) return { name: ".", how: "stream", kind: "directory", keepsOwners } as const;
  const { split, kind } = source;
  return { name: split.name, how: split.isContents ? "contents" : "tree", kind, keepsOwners } as const;
}

async function fromGuest(
  host: HostSide,
  from: Extract<CopyEnd, { kind: "guest" }>,
  to: CopyEnd,
  options: CopyOptions,
): Promise<Received | undefined> {
  using file = await openOneFile(from, options);
  const source: Source = file
    ? { split: splitPath(from.path), kind: "other" }
    : await lookAt(from.path, (split) => lookAtSource(from, split));
  const send = (sink: (bytes: Uint8Array) => Promise<void>) =>
    file ? writeAsTar(file, source.split.name, sink) : sendFromGuest(from, source.split, sink);
  if (to.kind === "stream") {
    let passed = 0;
    await send(async (bytes) => {
      options.signal.throwIfAborted();
      await to.write(bytes);
      options.onProgress(passed += bytes.length);
    });
    return undefined;
  }
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const sending = sendInto(send, writable, options);
  // Seen by whoever takes the stream, or awaited below.
  sending.catch(() => {});
  const whole = async () => {
    await sending;
  };
  if (to.kind === "guest") {
    await receiveInGuest(to, asSent(source, options), readable);
    await whole();
    return undefined;
  }
  const { keepsOwners } = options;
  const target = { path: to.path, ...source, keepsOwners };
  try {
    return await writeHostTarget(host, target, readable, whole);
  } catch (thrown) {
    await readable.cancel(thrown).catch(() => {}); // it may be locked by the reader that failed
    // Where the guest's end failed first, that is the reason to show.
    options.signal.throwIfAborted();
    throw thrown;
  }
}

/** Fails the stream where the guest's tar fails, so that nobody takes what came for all of it. */
async function sendInto(
  send: (sink: (bytes: Uint8Array) => Promise<void>) => Promise<void>,
  writable: WritableStream<Uint8Array>,
  { onProgress, signal }: CopyOptions,
): Promise<void> {
  const writer = writable.getWriter();
  let passed = 0;
  try {
    await send(async (bytes) => {
      signal.throwIfAborted();
      // The guest's buffer is its own again once this resolves.
      await writer.write(bytes.slice());
      onProgress(passed += bytes.length);
    });
    await writer.close();
  } catch (thrown) {
    await writer.abort(thrown).catch(() => {}); // its reader has left: that is why
    throw thrown;
  }
}

async function* counted(
  bytes: AsyncIterable<Uint8Array>,
  onProgress: (bytes: number) => void,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  let passed = 0;
  for await (const chunk of bytes) {
    signal.throwIfAborted();
    yield chunk;
    onProgress(passed += chunk.length);
  }
}
