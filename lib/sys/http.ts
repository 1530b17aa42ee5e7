import { BangerError, reasonOf } from "../base/errors.ts";
import type { HttpClient, HttpRequest, HttpResponse } from "../base/http.ts";
import { quote } from "../base/names.ts";

/**
 * HTTP over `fetch`, without redirects. Dispose it to close the connections that it keeps open.
 *
 * Proxies come from the environment (`HTTPS_PROXY`, `NO_PROXY`), trusted certificates from the system, as
 * Deno reads them.
 */
export function systemHttpClient(): HttpClient & Disposable {
  const client = Deno.createHttpClient({});
  return {
    send: (request) => send(client, request),
    [Symbol.dispose]: () => client.close(),
  };
}

async function send(client: Deno.HttpClient, request: HttpRequest): Promise<HttpResponse> {
  let response: Response;
  try {
    response = await fetch(request.url, {
      method: request.method,
      redirect: "manual",
      client,
      // Compressed blobs must come as they are: their digest is over these bytes.
      headers: { "accept-encoding": "identity", ...request.headers },
      ...(request.body === undefined ? {} : { body: request.body }),
      ...(request.signal === undefined ? {} : { signal: request.signal }),
    });
  } catch (failure) {
    if (request.signal?.aborted) throw request.signal.reason;
    throw unreachable(request.url, failure);
  }
  return {
    status: response.status,
    header: (name) => response.headers.get(name) ?? undefined,
    body: response.body
      ? withResponse(response.body, response)
      : new ReadableStream({ start: (controller) => controller.close() }),
  };
}

/** Deno finds a body's end by a signal through the response, which must not be collected before the body. */
function withResponse(body: ReadableStream<Uint8Array>, response: Response) {
  return Object.defineProperty(body, Symbol("response"), { value: response });
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
