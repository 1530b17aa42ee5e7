import { BangerError } from "../../base/errors.ts";
import type { Host } from "../../base/host.ts";
import { quote } from "../../base/names.ts";
import { JsonReader, parseJson } from "../model/json.ts";
import { DOCKER_HUB } from "../model/reference.ts";

export type Credentials =
  | { readonly kind: "basic"; readonly username: string; readonly password: string }
  /** An OAuth 2 refresh token, which only a token server takes. */
  | { readonly kind: "identity-token"; readonly token: string };

/** Finds what to log in with. */
export interface CredentialFinder {
  /**
   * @param name registry and repository; the longest namespace that there is something for counts
   * @returns undefined for anonymous access
   */
  find(registry: string, repository: string): Promise<Credentials | undefined>;
}

export const ANONYMOUS: CredentialFinder = { find: () => Promise.resolve(undefined) };

const MAX_FILE_BYTES = 1024 * 1024;
const HELPER_TIMEOUT_MS = 10_000;
/** How Docker has always written Docker Hub's name. */
const HUB_KEY = "https://index.docker.io/v1/";
const HELPER_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/**
 * Credentials as podman, skopeo and Docker keep them. The first file that has something for the image counts:
 * `$REGISTRY_AUTH_FILE` alone where it is set, else containers' `auth.json` in the runtime and the
 * configuration directory, then Docker's `config.json`.
 *
 * @param variable reads an environment variable
 * Source: containers-auth.json(5); docker/cli, "Credential stores"
 */
export function storedCredentials(
  host: Pick<Host, "files" | "processes">,
  variable: (name: string) => string | undefined,
): CredentialFinder {
  return {
    async find(registry, repository) {
      for (const path of authFiles(variable)) {
        if (await host.files.stat(path) === undefined) continue;
        const found = await findIn(host, path, registry, repository);
        if (found !== undefined) return found;
      }
      return undefined;
    },
  };
}

function authFiles(variable: (name: string) => string | undefined): string[] {
  const only = variable("REGISTRY_AUTH_FILE");
  if (only) return [only];
  const home = variable("HOME");
  const runtime = variable("XDG_RUNTIME_DIR");
  const config = variable("XDG_CONFIG_HOME") || (home && `${home}/.config`);
  const docker = variable("DOCKER_CONFIG") || (home && `${home}/.docker`);
  return [
    runtime && `${runtime}/containers/auth.json`,
    config && `${config}/containers/auth.json`,
    docker && `${docker}/config.json`,
  ].filter((path) => path?.startsWith("/")) as string[];
}

async function findIn(
  host: Pick<Host, "files" | "processes">,
  path: string,
  registry: string,
  repository: string,
): Promise<Credentials | undefined> {
  const reader = new JsonReader(parseJson(await host.files.readBytes(path, MAX_FILE_BYTES), path), path);
  const helper = reader.findObject("credHelpers")?.findString(registry);
  if (helper !== undefined) return await askHelper(host, helper, registry);

  const auths = reader.findObject("auths");
  for (const key of candidateKeys(auths?.keys() ?? [], registry, repository)) {
    const entry = auths?.findObject(key);
    const found = entry && inlineCredentials(entry, path);
    if (found !== undefined) return found;
  }
  const store = reader.findString("credsStore");
  return store ? await askHelper(host, store, registry) : undefined;
}

/** The keys of a file that fit, longest namespace first. */
function candidateKeys(keys: readonly string[], registry: string, repository: string): string[] {
  const name = `${registry}/${repository}`;
  const fitting = keys.map((key) => ({ key, scope: normalizedScope(key) }))
    .filter(({ scope }) => scope !== "" && (name === scope || name.startsWith(`${scope}/`)));
  return fitting.toSorted((a, b) => b.scope.length - a.scope.length).map(({ key }) => key);
}

/** Docker writes URLs (`https://host/v1/`), containers' tools `host/namespace`. */
function normalizedScope(key: string): string {
  let scope = key;
  const url = /^https?:\/\/([^/]+)/.exec(key);
  if (url !== null) scope = url[1]!;
  scope = scope.replace(/\/+$/, "");
  return /^(?:index\.docker\.io|registry-1\.docker\.io)$/.test(scope) ? DOCKER_HUB : scope;
}

function inlineCredentials(entry: JsonReader, path: string): Credentials | undefined {
  const token = entry.findString("identitytoken");
  if (token) return { kind: "identity-token", token };
  const auth = entry.findString("auth");
  if (!auth) return undefined;
  let decoded: string;
  try {
    decoded = new TextDecoder().decode(Uint8Array.from(atob(auth), (char) => char.charCodeAt(0)));
  } catch (cause) {
    throw new BangerError(
      "invalid_argument",
      `Cannot read the credentials in ${path}: an "auth" entry is no base64`,
      "Log in again",
      { cause },
    );
  }
  const colon = decoded.indexOf(":");
  if (colon < 1) return undefined;
  return {
    kind: "basic",
    username: decoded.slice(0, colon),
    password: decoded.slice(colon + 1).replace(/\0+$/, ""),
  };
}

/**
 * The name comes from a file and becomes a program's name; what goes in and out does so through pipes, never
 * through arguments that other users can see.
 *
 * Source: docker/docker-credential-helpers, "Development"
 */
async function askHelper(
  { processes }: Pick<Host, "processes">,
  helper: string,
  registry: string,
): Promise<Credentials | undefined> {
  if (!HELPER_NAME.test(helper)) {
    throw new BangerError(
      "invalid_argument",
      `Cannot ask the credential helper ${quote(helper)}: it is no valid name`,
    );
  }
  const program = `docker-credential-${helper}`;
  const server = registry === DOCKER_HUB ? HUB_KEY : registry;
  const { code, stdout } = await processes.run({ program, args: ["get"] }, {
    stdin: new TextEncoder().encode(server),
    timeoutMs: HELPER_TIMEOUT_MS,
  });
  if (code !== 0) {
    // The protocol's own words for "there are none".
    if (/credentials not found/i.test(stdout)) return undefined;
    throw new BangerError(
      "source_unavailable",
      `Cannot get the credentials of ${registry}: ${program} ended with code ${code}`,
      `Run: echo ${server} | ${program} get`,
    );
  }
  const reader = new JsonReader(
    parseJson(new TextEncoder().encode(stdout), `the answer of ${program}`),
    program,
  );
  const username = reader.findString("Username") ?? "";
  const secret = reader.findString("Secret") ?? "";
  if (secret === "") return undefined;
  if (username === "<token>") return { kind: "identity-token", token: secret };
  return { kind: "basic", username, password: secret };
}
