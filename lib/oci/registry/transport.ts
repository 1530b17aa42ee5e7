import { BangerError, reasonOf } from "../../base/errors.ts";
import type { Host } from "../../base/host.ts";
import type { HttpClient, HttpResponse } from "../../base/http.ts";
import { quote } from "../../base/names.ts";
import { type Authorizer, loginRefused } from "./authorizer.ts";
import { type Endpoint, isLinkLocalHost } from "./settings.ts";

const MAX_REDIRECTS = 10;
const MAX_ATTEMPTS = 5;
const MAX_WAIT_MS = 60_000;
const FIRST_WAIT_MS = 500;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
/** Worth another try: too many requests, and servers that are overloaded or restarting. */
const TEMPORARY: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);

export interface TransportHost extends Pick<Host, "clock"> {
  readonly http: HttpClient;
  /** In [0, 1): spreads retries. */
  readonly random: () => number;
}

export interface RegistryRequest {
  readonly method: "GET" | "HEAD";
  /** Below `/v2/<repository>/`. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Sends a request to a registry: logs in when asked to, follows redirects, waits and tries again where that
 * helps.
 *
 * @returns an answer below 500 other than 401 and 429
 * @throws {BangerError} `source_unavailable`, `permission_denied`
 */
export async function sendToRegistry(
  host: TransportHost,
  authorizer: Authorizer,
  endpoint: Endpoint,
  request: RegistryRequest,
): Promise<HttpResponse> {
  let hasAuthorized = false;
  for (let attempt = 1;; attempt++) {
    let response: HttpResponse | undefined;
    let failure: unknown;
    try {
      response = await sendOnce(host.http, authorizer.findHeader(endpoint), endpoint, request);
    } catch (thrown) {
      request.signal?.throwIfAborted();
      if (!(thrown instanceof BangerError) || thrown.code !== "source_unavailable") throw thrown;
      failure = thrown;
    }
    if (response !== undefined && !TEMPORARY.has(response.status)) {
      if (response.status !== 401) return response;
      await response.body.cancel();
      if (hasAuthorized) throw loginRefused(endpoint);
      hasAuthorized = true;
      await authorizer.authorize(endpoint, response.header("www-authenticate") ?? "", request.signal);
      continue;
    }
    await response?.body.cancel();
    if (attempt >= MAX_ATTEMPTS) throw gaveUp(endpoint, response, failure);
    await host.clock.sleep(waitMs(host, response, attempt), request.signal);
  }
}

function gaveUp(endpoint: Endpoint, response: HttpResponse | undefined, failure: unknown): BangerError {
  if (response === undefined) {
    // "Cannot reach …", in the words of whoever tried.
    return new BangerError("source_unavailable", reasonOf(failure), unreachableHint(endpoint), {
      cause: failure,
    });
  }
  return new BangerError(
    "source_unavailable",
    `Cannot get an answer from ${endpoint.registry}: it answered ${response.status} ${MAX_ATTEMPTS} times`,
    response.status === 429 ? "Wait a while; a login often raises the limit" : "Try again later",
  );
}

function unreachableHint({ baseUrl, registry }: Endpoint): string {
  const check = "Check its name and the network, and HTTPS_PROXY where you need a proxy";
  return baseUrl.startsWith("http:")
    ? check
    : `${check}; if it speaks plain HTTP, name ${quote(registry)} in config.toml, registries.insecure`;
}

/** What the server asks for, within reason; else twice as long each time, from half of it to all of it. */
function waitMs(
  host: Pick<TransportHost, "clock" | "random">,
  response: Pick<HttpResponse, "header"> | undefined,
  attempt: number,
): number {
  const asked = response?.header("retry-after")?.trim();
  if (asked !== undefined && /^\d{1,9}$/.test(asked)) return Math.min(Number(asked) * 1000, MAX_WAIT_MS);
  const date = asked === undefined ? NaN : Date.parse(asked);
  if (Number.isFinite(date)) return Math.min(Math.max(date - host.clock.now(), 0), MAX_WAIT_MS);
  const longest = Math.min(FIRST_WAIT_MS * 2 ** (attempt - 1), MAX_WAIT_MS);
  return longest * (0.5 + host.random() / 2);
}

/** One request and its redirects. Credentials stay with the origin that they were meant for. */
async function sendOnce(
  http: HttpClient,
  authorization: string | undefined,
  endpoint: Endpoint,
  request: RegistryRequest,
): Promise<HttpResponse> {
  let url = new URL(`${endpoint.baseUrl}/v2/${endpoint.repository}/${request.path}`);
  const origin = url.origin;
  for (let redirects = 0;; redirects++) {
    const isOrigin = url.origin === origin;
    const response = await http.send({
      method: request.method,
      url: url.href,
      headers: {
        ...request.headers,
        ...(isOrigin && authorization !== undefined ? { authorization } : {}),
      },
      ...(request.signal === undefined ? {} : { signal: request.signal }),
    });
    if (!REDIRECTS.has(response.status)) {
      // A 401 from elsewhere must not make us log in there.
      if (response.status !== 401 || isOrigin) return response;
      await response.body.cancel();
      throw badRedirect(endpoint, url, "wants a login");
    }
    await response.body.cancel();
    if (redirects === MAX_REDIRECTS) {
      throw badRedirect(endpoint, url, `is redirect number ${MAX_REDIRECTS + 1}`);
    }
    url = nextUrl(endpoint, url, response.header("location"));
  }
}

function nextUrl(endpoint: Endpoint, from: URL, location: string | undefined): URL {
  if (location === undefined || !URL.canParse(location, from)) {
    throw badRedirect(endpoint, from, "leads nowhere");
  }
  const to = new URL(location, from);
  if (to.protocol !== "https:" && to.protocol !== "http:") throw badRedirect(endpoint, to, "is no http URL");
  if (from.protocol === "https:" && to.protocol === "http:") {
    throw badRedirect(endpoint, to, "leads from https to http");
  }
  if (isLinkLocalHost(to.host) && to.host !== new URL(endpoint.baseUrl).host) {
    throw badRedirect(endpoint, to, "is a link-local address");
  }
  // A login in a redirect would be sent on as credentials.
  to.username = "";
  to.password = "";
  return to;
}

function badRedirect(endpoint: Endpoint, url: URL, why: string): BangerError {
  // Signed URLs are secrets: only where it leads is shown.
  return new BangerError(
    "permission_denied",
    `Cannot follow a redirect of ${endpoint.registry}: ${quote(`${url.protocol}//${url.host}`)} ${why}`,
  );
}
