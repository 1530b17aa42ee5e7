import { BangerError, reasonOf } from "../base/errors.ts";
import type { HttpBody, HttpClient, HttpRequest, HttpResponse } from "../base/http.ts";
import { quote } from "../base/names.ts";
import { eitherSignal } from "../base/signals.ts";

/** A server from which nothing comes for that long has gone away without a word. */
const IDLE_TIMEOUT_MS = 60_000;
const READ_BYTES = 1024 * 1024;

/**
 * HTTP over `fetch`, without redirects. Dispose it to close the connections that it keeps open.
 *
 * Proxies come from the environment (`HTTPS_PROXY`, `NO_PROXY`), trusted certificates from the system, as
 * Deno reads them.
 *
 * @param idleTimeoutMs given up where an answer, or the next byte of its body, is waited for that long
 */
export function systemHttpClient(
  { idleTimeoutMs = IDLE_TIMEOUT_MS }: { readonly idleTimeoutMs?: number } = {},
): HttpClient & Disposable {
  const client = Deno.createHttpClient({});
  return {
    send: (request) => send(client, request, idleTimeoutMs),
    [Symbol.dispose]: () => client.close(),
  };
}

async function send(
  client: Deno.HttpClient,
  request: HttpRequest,
  idleTimeoutMs: number,
): Promise<HttpResponse> {
  const idle = new IdleLimit(request.url, idleTimeoutMs);
  const ends = eitherSignal(request.signal, idle.signal);
  let response: Response;
  try {
    response = await idle.during(fetch(request.url, {
      method: request.method,
      redirect: "manual",
      client,
      // Compressed blobs must come as they are: their digest is over these bytes.
      headers: { "accept-encoding": "identity", ...request.headers },
      ...(request.body === undefined ? {} : { body: request.body }),
      signal: ends.signal,
    }));
  } catch (failure) {
    ends[Symbol.dispose]();
    request.signal?.throwIfAborted();
    idle.signal.throwIfAborted();
    throw unreachable(request.url, failure);
  }
  return {
    status: response.status,
    header: (name) => response.headers.get(name) ?? undefined,
    body: new ResponseBody(response, idle, ends),
  };
}

/** Ends what is waited for too long. Time in which nobody waits does not count. */
class IdleLimit {
  readonly #controller = new AbortController();
  readonly #url: string;
  readonly #timeoutMs: number;

  constructor(url: string, timeoutMs: number) {
    this.#url = url;
    this.#timeoutMs = timeoutMs;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  async during<T>(waiting: Promise<T>): Promise<T> {
    const timer = setTimeout(
      () => this.#controller.abort(silent(this.#url, this.#timeoutMs)),
      this.#timeoutMs,
    );
    try {
      return await waiting;
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Reads into one buffer: what fetch's own chunks cost, 64 KiB each and collected later, is saved. */
class ResponseBody implements HttpBody {
  /** All of it: Deno finds a body's end by a signal through the response, which must not be collected before. */
  readonly #response: Response;
  readonly #idle: IdleLimit;
  readonly #signal: Disposable;

  constructor(response: Response, idle: IdleLimit, signal: Disposable) {
    this.#response = response;
    this.#idle = idle;
    this.#signal = signal;
  }

  async cancel(): Promise<void> {
    this.#signal[Symbol.dispose]();
    await this.#response.body?.cancel();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    using _listening = this.#signal;
    const reader = this.#response.body?.getReader({ mode: "byob" });
    if (reader === undefined) return;
    let hasEnded = false;
    try {
      for (let buffer = new ArrayBuffer(READ_BYTES);;) {
        const { done, value } = await this.#idle.during(reader.read(new Uint8Array(buffer)));
        hasEnded = done;
        if (done) return;
        yield value;
        buffer = value.buffer;
      }
    } catch (failure) {
      hasEnded = true;
      throw failure;
    } finally {
      if (!hasEnded) await reader.cancel();
    }
  }
}

function silent(url: string, timeoutMs: number): BangerError {
  return new BangerError(
    "source_unavailable",
    `Cannot read from ${quote(new URL(url).host)}: it sent nothing for ${timeoutMs / 1000} s`,
    "Try again later",
  );
}

function unreachable(url: string, failure: unknown): BangerError {
  return new BangerError(
    "source_unavailable",
    `Cannot reach ${quote(new URL(url).host)}: ${shortened(reasonOf(failure))}`,
    "Check the name, the network, and HTTPS_PROXY where you need a proxy",
    { cause: failure },
  );
}

/** Deno tells the address again, each layer that a failure went through, and its last words twice. */
function shortened(reason: string): string {
  const parts = reason
    .replace(/^error sending request[^:]*(?: for url \(\S*\))?: /, "")
    .replaceAll(/ \(os error \d+\)/g, "")
    .split(": ")
    .filter((part) => !/^(client error \(\w+\)|tcp connect error)$/.test(part));
  return [...new Set(parts)].join(": ");
}
