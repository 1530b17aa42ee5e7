import { createHash } from "node:crypto";
import { BangerError } from "./errors.ts";
import type { Host, Progress } from "./host.ts";
import type { HttpClient, HttpResponse } from "./http.ts";
import { quote } from "./names.ts";
import { eitherSignal } from "./signals.ts";

const MAX_REDIRECTS = 5;
/** A server that sends nothing for that long is given up. */
const STALL_TIMEOUT_MS = 30_000;

export type DownloadHost = Pick<Host, "files" | "clock"> & { readonly http: HttpClient };

/** What is to be had, known from a place that is trusted. */
export interface Download {
  /** http or https. */
  readonly url: string;
  /** Of the file, hexadecimal. */
  readonly sha256: string;
  /** Where it is known. */
  readonly sizeBytes?: number;
  /** Where the size is not known: more is refused. */
  readonly maxBytes?: number;
}

const DEFAULT_MAX_BYTES = 2 ** 31;

/**
 * Fetches a file to a new one. Size and SHA-256 are checked while it streams in; what is not exactly what was
 * promised never stays.
 *
 * @throws {BangerError} `source_unavailable`; `corrupt_data`; the signal's reason
 */
export async function downloadVerified(
  host: DownloadHost,
  source: Download,
  path: string,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const stalled = new AbortController();
  using ended = eitherSignal(signal, stalled.signal);
  try {
    await receive(host, source, path, progress, ended.signal, stalled);
  } catch (thrown) {
    await host.files.remove(path);
    signal.throwIfAborted();
    throw thrown;
  }
}

async function receive(
  host: DownloadHost,
  source: Download,
  path: string,
  progress: Progress,
  ended: AbortSignal,
  stalled: AbortController,
): Promise<void> {
  const { files, clock } = host;
  await using watch = watchForStall(clock, stalled, source.url);
  const response = await follow(host.http, source.url, ended);
  const announced = response.header("content-length");
  const { sizeBytes } = source;
  if (announced !== undefined && sizeBytes !== undefined && Number(announced) !== sizeBytes) {
    await response.body.cancel();
    throw lies(source.url, `it announces ${quote(announced)} bytes, and ${sizeBytes} were promised`);
  }
  const maxBytes = sizeBytes ?? source.maxBytes ?? DEFAULT_MAX_BYTES;
  await using file = await files.open(path, { write: true, createNew: true, mode: 0o600 });
  const hash = createHash("sha256");
  let doneBytes = 0;
  for await (const chunk of response.body) {
    watch.reset();
    if (doneBytes + chunk.length > maxBytes) {
      throw lies(source.url, `it sends more than ${maxBytes} bytes`);
    }
    hash.update(chunk);
    await file.writeAt(chunk, doneBytes);
    doneBytes += chunk.length;
    progress.update(doneBytes, sizeBytes);
  }
  if (sizeBytes !== undefined && doneBytes !== sizeBytes) {
    throw lies(source.url, `it ends after ${doneBytes} of ${sizeBytes} bytes`);
  }
  const sha256 = hash.digest("hex");
  if (sha256 !== source.sha256) {
    throw lies(source.url, `its SHA-256 is ${sha256}, and ${source.sha256} was promised`);
  }
}

/**
 * Fetches a short text that nothing is known of.
 *
 * @throws {BangerError} `source_unavailable`; `corrupt_data` where it is too long; the signal's reason
 */
export async function fetchText(
  { clock, http }: Pick<DownloadHost, "clock" | "http">,
  url: string,
  maxBytes: number,
  signal: AbortSignal,
): Promise<string> {
  const stalled = new AbortController();
  await using watch = watchForStall(clock, stalled, url);
  const { body } = await follow(http, url, AbortSignal.any([signal, stalled.signal]));
  const decoder = new TextDecoder();
  let text = "";
  let doneBytes = 0;
  for await (const chunk of body) {
    watch.reset();
    doneBytes += chunk.length;
    if (doneBytes > maxBytes) throw lies(url, `it sends more than ${maxBytes} bytes`);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/**
 * A GET that follows redirects, never from https to http.
 *
 * @returns the answer, whose status is 200
 * @throws {BangerError} `source_unavailable`
 */
async function follow(http: HttpClient, url: string, signal: AbortSignal): Promise<HttpResponse> {
  let at = url;
  for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
    const response = await http.send({ method: "GET", url: at, signal });
    if (response.status === 200) return response;
    await response.body.cancel();
    if (![301, 302, 303, 307, 308].includes(response.status)) {
      throw unavailable(url, `the server answers with status ${response.status}`);
    }
    at = nextUrl(response.header("location"), at, url);
  }
  throw unavailable(url, `it redirects more than ${MAX_REDIRECTS} times`);
}

/** Never from https to http: what was to be private would be readable on the way. */
function nextUrl(location: string | undefined, from: string, original: string): string {
  const next = location === undefined ? undefined : URL.parse(location, from);
  const isFine = next?.protocol === "https:" || (next?.protocol === "http:" && from.startsWith("http:"));
  if (next && isFine) return next.href;
  throw unavailable(original, `it redirects to ${quote(location ?? "nowhere")}`);
}

function watchForStall(clock: Host["clock"], stalled: AbortController, url: string) {
  let lastMs = clock.monotonicMs();
  const stop = new AbortController();
  const watching = (async () => {
    while (!stop.signal.aborted) {
      await clock.sleep(STALL_TIMEOUT_MS / 10, stop.signal).catch(() => {}); // the loop's condition sees it
      if (stop.signal.aborted || clock.monotonicMs() - lastMs < STALL_TIMEOUT_MS) continue;
      stalled.abort(unavailable(url, `the server sends nothing for ${STALL_TIMEOUT_MS / 1000} s`));
      return;
    }
  })();
  return {
    reset: () => void (lastMs = clock.monotonicMs()),
    async [Symbol.asyncDispose]() {
      stop.abort();
      await watching;
    },
  };
}

function unavailable(url: string, why: string): BangerError {
  return new BangerError(
    "source_unavailable",
    `Cannot fetch ${quote(url)}: ${why}`,
    "Check the address and the network, or try again later",
  );
}

function lies(url: string, why: string): BangerError {
  return new BangerError(
    "corrupt_data",
    `Cannot use ${quote(url)}: ${why}`,
    "Nothing of it was kept. Try again; if it stays so, the server does not have what is expected",
  );
}
