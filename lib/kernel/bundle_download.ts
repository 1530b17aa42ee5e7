import { createHash } from "node:crypto";
import { BangerError } from "../base/errors.ts";
import type { Host, Progress } from "../base/host.ts";
import type { HttpClient, HttpResponse } from "../base/http.ts";
import { quote } from "../base/names.ts";
import type { BundleSource } from "./catalog.ts";

const MAX_REDIRECTS = 5;
/** A server that sends nothing for that long is given up. */
const STALL_TIMEOUT_MS = 30_000;

type DownloadHost = Pick<Host, "files" | "clock"> & { readonly http: HttpClient };

/**
 * Fetches a bundle to a new file. Size and SHA-256 are checked while it streams in; a file that is not exactly
 * what the catalog promises never stays.
 *
 * @throws {BangerError} `source_unavailable`; `corrupt_data`; the signal's reason
 */
export async function downloadBundle(
  host: DownloadHost,
  source: BundleSource,
  path: string,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const stalled = new AbortController();
  const ended = AbortSignal.any([signal, stalled.signal]);
  try {
    await receive(host, source, path, progress, ended, stalled);
  } catch (thrown) {
    await host.files.remove(path);
    signal.throwIfAborted();
    throw thrown;
  }
}

async function receive(
  host: DownloadHost,
  source: BundleSource,
  path: string,
  progress: Progress,
  ended: AbortSignal,
  stalled: AbortController,
): Promise<void> {
  const { files, clock } = host;
  await using watch = watchForStall(clock, stalled, source.url);
  const response = await follow(host.http, source.url, ended);
  const announced = response.header("content-length");
  if (announced !== undefined && Number(announced) !== source.sizeBytes) {
    await response.body.cancel();
    throw lies(
      source.url,
      `it announces ${quote(announced)} bytes, and the catalog says ${source.sizeBytes}`,
    );
  }
  await using file = await files.open(path, { write: true, createNew: true, mode: 0o600 });
  const hash = createHash("sha256");
  let doneBytes = 0;
  for await (const chunk of response.body) {
    watch.reset();
    if (doneBytes + chunk.length > source.sizeBytes) {
      throw lies(source.url, `it sends more than the ${source.sizeBytes} bytes that the catalog says`);
    }
    hash.update(chunk);
    await file.writeAt(chunk, doneBytes);
    doneBytes += chunk.length;
    progress.update(doneBytes, source.sizeBytes);
  }
  if (doneBytes !== source.sizeBytes) {
    throw lies(source.url, `it ends after ${doneBytes} of ${source.sizeBytes} bytes`);
  }
  const sha256 = hash.digest("hex");
  if (sha256 !== source.sha256) {
    throw lies(source.url, `its SHA-256 is ${sha256}, and the catalog says ${source.sha256}`);
  }
}

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
    "Try again later, or use another kernel: banger kernel list --available",
  );
}

function lies(url: string, why: string): BangerError {
  return new BangerError(
    "corrupt_data",
    `Cannot use ${quote(url)}: ${why}`,
    "Nothing of it was kept. Try again; if it stays so, the server does not have what this banger expects",
  );
}
