import { BangerError } from "../../base/errors.ts";
import type { Host } from "../../base/host.ts";
import type { HttpClient } from "../../base/http.ts";
import { quote } from "../../base/names.ts";
import { JsonReader, parseJson } from "../model/json.ts";
import { readBounded } from "../sources/bounded.ts";
import { type Challenge, parseChallenges } from "./challenge.ts";
import type { CredentialFinder, Credentials } from "./credentials.ts";
import { type Endpoint, isLoopbackHost, isPrivateHost } from "./settings.ts";

const MAX_TOKEN_ANSWER_BYTES = 1024 * 1024;
/** Where a token server does not say (distribution, "Token Authentication"). */
const DEFAULT_TOKEN_SECONDS = 60;
/** A token is renewed so long before it ends, but used once at least. */
const RENEW_EARLY_MS = 5_000;
const CLIENT_ID = "banger";

interface Grant {
  readonly header: string;
  readonly expiresAtMs: number;
}

/**
 * Answers registries' demands for a login, and remembers the answer for each repository.
 *
 * Credentials go to the registry itself and to the token server that it names, to nobody else: see `checkRealm`
 * for which it may name.
 */
export class Authorizer {
  readonly #host: Pick<Host, "clock"> & { readonly http: HttpClient };
  readonly #credentials: CredentialFinder;
  readonly #grants = new Map<string, Grant>();

  constructor(host: Pick<Host, "clock"> & { readonly http: HttpClient }, credentials: CredentialFinder) {
    this.#host = host;
    this.#credentials = credentials;
  }

  /** What an Authorization header should say, where that is known already. */
  findHeader(endpoint: Endpoint): string | undefined {
    const grant = this.#grants.get(keyOf(endpoint));
    return grant !== undefined && grant.expiresAtMs > this.#host.clock.now() ? grant.header : undefined;
  }

  /**
   * Gets what a 401 asks for.
   *
   * @param wwwAuthenticate the header of the 401
   * @throws {BangerError} `permission_denied` where there are no credentials for it, or they are refused
   */
  async authorize(endpoint: Endpoint, wwwAuthenticate: string, signal?: AbortSignal): Promise<void> {
    const challenges = parseChallenges(wwwAuthenticate);
    const credentials = await this.#credentials.find(endpoint.registry, endpoint.repository);
    const bearer = challenges.find(({ scheme }) => scheme === "bearer");
    if (bearer !== undefined) {
      this.#grants.set(keyOf(endpoint), await this.#fetchToken(endpoint, bearer, credentials, signal));
    } else if (challenges.some(({ scheme }) => scheme === "basic")) {
      if (credentials?.kind !== "basic") throw loginNeeded(endpoint);
      this.#grants.set(keyOf(endpoint), { header: basicHeader(credentials), expiresAtMs: Infinity });
    } else {
      throw new BangerError(
        "permission_denied",
        `Cannot log in to ${endpoint.registry}: it asks for a way that is not supported`,
      );
    }
  }

  async #fetchToken(
    endpoint: Endpoint,
    challenge: Challenge,
    credentials: Credentials | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Grant> {
    const realm = checkRealm(endpoint, challenge.parameters.get("realm"));
    const scopes = new Set(
      (challenge.parameters.get("scope") ?? "").split(" ").filter((scope) => scope !== ""),
    );
    if (scopes.size === 0) scopes.add(`repository:${endpoint.repository}:pull`);
    const request = tokenRequest(realm, challenge.parameters.get("service"), scopes, credentials);
    const response = await this.#host.http.send({ ...request, ...(signal === undefined ? {} : { signal }) });
    const body = await readBounded(response.body, MAX_TOKEN_ANSWER_BYTES, `the answer of ${realm.host}`);
    if (response.status === 401 || response.status === 403) {
      throw credentials === undefined ? loginNeeded(endpoint) : loginRefused(endpoint);
    }
    if (response.status !== 200) {
      throw new BangerError(
        "source_unavailable",
        `Cannot log in to ${endpoint.registry}: its token server ${realm.host} answered ${response.status}`,
        "Try again later",
      );
    }
    const reader = new JsonReader(parseJson(body, "a token"), "a token");
    const token = reader.findString("token") || reader.findString("access_token");
    // It becomes a header: nothing in it may end one.
    if (token === undefined || !/^[\x21-\x7e]{1,65536}$/.test(token)) {
      throw reader.fail("it is missing or malformed");
    }
    const seconds = reader.has("expires_in") ? reader.getCount("expires_in") : DEFAULT_TOKEN_SECONDS;
    const lifetimeMs = Math.max(seconds * 1000 - RENEW_EARLY_MS, 1000);
    return { header: `Bearer ${token}`, expiresAtMs: this.#host.clock.now() + lifetimeMs };
  }
}

function keyOf(endpoint: Endpoint): string {
  return `${endpoint.baseUrl} ${endpoint.repository}`;
}

function basicHeader({ username, password }: { username: string; password: string }): string {
  const bytes = new TextEncoder().encode(`${username}:${password}`);
  return `Basic ${btoa(String.fromCharCode(...bytes))}`;
}

function tokenRequest(
  realm: URL,
  service: string | undefined,
  scopes: ReadonlySet<string>,
  credentials: Credentials | undefined,
): { method: "GET" | "POST"; url: string; headers?: Record<string, string>; body?: string } {
  if (credentials?.kind === "identity-token") {
    const form = new URLSearchParams({
      grant_type: "refresh_token",
      client_id: CLIENT_ID,
      refresh_token: credentials.token,
      scope: [...scopes].join(" "),
      ...(service === undefined ? {} : { service }),
    });
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    return { method: "POST", url: realm.href, headers, body: form.toString() };
  }
  const url = new URL(realm);
  if (service !== undefined) url.searchParams.set("service", service);
  for (const scope of scopes) url.searchParams.append("scope", scope);
  return credentials === undefined
    ? { method: "GET", url: url.href }
    : { method: "GET", url: url.href, headers: { authorization: basicHeader(credentials) } };
}

/**
 * A registry chooses its token server, so whoever controls the registry chooses whom we talk to: only https, and
 * nothing in private networks, except for a server at the registry's own host. A plain-http registry may name
 * plain-http servers at its own host or, being on loopback itself, on loopback.
 */
function checkRealm(endpoint: Endpoint, realm: string | undefined): URL {
  const registry = new URL(endpoint.baseUrl);
  const refuse = (why: string) =>
    new BangerError(
      "permission_denied",
      `Cannot log in to ${endpoint.registry}: its token server ${
        realm === undefined ? "" : `${quote(realm)} `
      }${why}`,
    );
  if (realm === undefined || !URL.canParse(realm)) throw refuse("is no URL");
  const url = new URL(realm);
  if (url.protocol !== "https:" && url.protocol !== "http:") throw refuse("is no https URL");
  if (url.username !== "" || url.password !== "") throw refuse("has a login in it");
  const isOwnHost = url.hostname === registry.hostname;
  const areBothLoopback = isLoopbackHost(url.hostname) && isLoopbackHost(registry.hostname);
  if (url.protocol === "http:" && !(registry.protocol === "http:" && (isOwnHost || areBothLoopback))) {
    throw refuse("is not reached over https");
  }
  if (isPrivateHost(url.hostname) && !isOwnHost && !areBothLoopback) throw refuse("is in a private network");
  return url;
}

function loginNeeded(endpoint: Endpoint): BangerError {
  return new BangerError(
    "permission_denied",
    `Cannot pull ${endpoint.registry}/${endpoint.repository}: the registry wants a login, or has no such repository`,
    `Check the name, or log in with: skopeo login ${endpoint.registry}`,
  );
}

export function loginRefused(endpoint: Endpoint): BangerError {
  return new BangerError(
    "permission_denied",
    `Cannot pull ${endpoint.registry}/${endpoint.repository}: the registry refuses these credentials`,
    `Log in again with: skopeo login ${endpoint.registry}`,
  );
}
