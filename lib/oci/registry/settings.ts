import { BangerError } from "../../base/errors.ts";
import { quote } from "../../base/names.ts";
import { DOCKER_HUB, type Reference } from "../model/reference.ts";

export interface Mirror {
  /** A registry, or a registry and the beginning of a repository: `docker.io`, `docker.io/library`. */
  readonly prefix: string;
  /** What stands in its place: `mirror.example:5000/hub`. */
  readonly location: string;
}

/** What a user configured about registries. Nothing of it is ever taken from a registry's answers. */
export interface RegistrySettings {
  /** Asked before the registry itself, the longest prefix first. */
  readonly mirrors: readonly Mirror[];
  /** Hosts (with port) that are spoken to over plain HTTP. Loopback needs no entry. */
  readonly insecureHosts: readonly string[];
}

export const NO_REGISTRY_SETTINGS: RegistrySettings = { mirrors: [], insecureHosts: [] };

/** One place to ask for a repository. */
export interface Endpoint {
  /** For credentials and messages: the name in references, not always the host that is connected to. */
  readonly registry: string;
  /** Without a slash at the end. */
  readonly baseUrl: string;
  readonly repository: string;
}

/** docker.io's API lives under another name. */
const HUB_API_HOST = "registry-1.docker.io";

/**
 * Where to ask for an image, in order: its mirrors, then its registry.
 *
 * @throws {BangerError} `invalid_argument` for a mirror without a location
 */
export function endpointsOf(
  reference: Pick<Reference, "registry" | "repository">,
  settings: RegistrySettings,
): Endpoint[] {
  const { registry, repository } = reference;
  const name = `${registry}/${repository}`;
  const mirrors = settings.mirrors
    .filter(({ prefix }) => isPrefix(prefix, name))
    .toSorted((a, b) => b.prefix.length - a.prefix.length)
    .map(({ prefix, location }) => {
      const [host, ...path] = location.split("/");
      if (!host) {
        throw new BangerError(
          "invalid_argument",
          `Cannot use the mirror of ${quote(prefix)}: it has no location`,
        );
      }
      const rest = name.slice(prefix.length).replace(/^\//, "");
      return endpoint(host, [...path, rest].filter((part) => part !== "").join("/"), settings);
    });
  return [...mirrors, endpoint(registry, repository, settings)];
}

function isPrefix(prefix: string, name: string): boolean {
  return name === prefix || name.startsWith(`${prefix}/`);
}

function endpoint(registry: string, repository: string, settings: RegistrySettings): Endpoint {
  const host = registry === DOCKER_HUB ? HUB_API_HOST : registry;
  const isPlain = isLoopbackHost(host) || settings.insecureHosts.includes(registry);
  return { registry, baseUrl: `${isPlain ? "http" : "https"}://${host}`, repository };
}

/** @param host with or without a port */
export function isLoopbackHost(host: string): boolean {
  const name = hostName(host);
  return name === "localhost" || name === "[::1]" || /^127(\.\d{1,3}){3}$/.test(name);
}

/** Addresses that a server elsewhere has no business to send us to. Names are not resolved. */
export function isPrivateHost(host: string): boolean {
  const name = hostName(host);
  if (isLoopbackHost(name) || name.endsWith(".localhost")) return true;
  // fc00::/7 unique local, fe80::/10 link-local, :: unspecified, ::ffff:0:0/96 IPv4 in disguise.
  if (name.startsWith("[")) return /^\[(?:f[cd]|fe[89ab]|::\]|::ffff:)/i.test(name);
  const match = /^(\d{1,3})\.(\d{1,3})\.\d{1,3}\.\d{1,3}$/.exec(name);
  if (match === null) return false;
  const [a, b] = [Number(match[1]), Number(match[2])];
  return a === 0 || a === 10 || a === 127 || (a === 172 && b >= 16 && b <= 31) || (a === 192 && b === 168) ||
    (a === 169 && b === 254) || (a === 100 && b >= 64 && b <= 127);
}

/** Of cloud metadata services. */
export function isLinkLocalHost(host: string): boolean {
  return /^(?:169\.254\.|\[fe[89ab]|\[::ffff:a9fe:)/i.test(hostName(host));
}

function hostName(host: string): string {
  return host.replace(/:\d+$/, "").replace(/\.$/, "").toLowerCase();
}
