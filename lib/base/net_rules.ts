/** What users write about a VM's network: ports to publish, and hosts to allow. */
import { BangerError } from "./errors.ts";
import { quote } from "./names.ts";

/** `[HOST:]PORT[:GUEST]` */
export interface PublishedPort {
  readonly hostAddress: string;
  readonly hostPort: number;
  readonly guestPort: number;
}

const PORT = String.raw`\d{1,5}`;
const PUBLISH = new RegExp(`^(?:(\\[[0-9a-fA-F:]+\\]|[^:\\[\\]]+):)?(${PORT})(?::(${PORT}))?$`);

/**
 * @param text `8080`, `8080:80`, `0.0.0.0:8080:80`; without an address it is the host's loopback
 * @throws {BangerError} `invalid_argument`
 */
export function parsePublish(text: string): PublishedPort {
  // "8080:80" is a host port and a guest port, "1.2.3.4:80" an address and a port.
  const match = PUBLISH.exec(text);
  if (match) {
    const [, host, first, second] = match;
    if (host !== undefined && second === undefined && isPort(host) && isPort(first)) {
      return { hostAddress: "127.0.0.1", hostPort: Number(host), guestPort: Number(first) };
    }
    const address = host === undefined ? "127.0.0.1" : host.replace(/^\[|\]$/g, "");
    if (isAddress(address) && isPort(first) && (second === undefined || isPort(second))) {
      return { hostAddress: address, hostPort: Number(first), guestPort: Number(second ?? first) };
    }
  }
  throw new BangerError(
    "invalid_argument",
    `Cannot publish ${quote(text)}: it is not [ADDRESS:]PORT[:GUEST PORT]`,
    "Write 8080, 8080:80, or 0.0.0.0:8080:80 to be reached from other hosts",
  );
}

export function formatPublish({ hostAddress, hostPort, guestPort }: PublishedPort): string {
  const address = hostAddress.includes(":") ? `[${hostAddress}]` : hostAddress;
  return `${address}:${hostPort}:${guestPort}`;
}

function isPort(text: string | undefined): boolean {
  return text !== undefined && /^\d{1,5}$/.test(text) && Number(text) >= 1 && Number(text) <= 65535;
}

/** What a VM may reach. */
export type NetRule =
  /** Everything but what is always denied: `*`. */
  | { readonly kind: "any" }
  /** An address or a network: `10.1.0.0/16`. */
  | { readonly kind: "network"; readonly address: string; readonly prefix: number; readonly port?: number }
  /** A name, or with `*.` all below it. */
  | { readonly kind: "name"; readonly name: string; readonly isBelow: boolean; readonly port?: number };

/** RFC 1123, section 2.1; underscores occur in practice. */
const NAME =
  /^(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;

/**
 * @param text `*`, `packages.example.net`, `*.debian.org:443`, `192.0.2.7:5432`, `10.1.0.0/16`
 * @throws {BangerError} `invalid_argument`
 */
export function parseNetRule(text: string): NetRule {
  if (text === "*") return { kind: "any" };
  const match = /^([^:/]+)(?:\/(\d{1,2}))?(?::(\d{1,5}))?$/.exec(text);
  const port = match?.[3];
  if (!match || (port !== undefined && !isPort(port))) throw badRule(text);
  const withPort = port === undefined ? {} : { port: Number(port) };
  const [, host, prefixText] = match;
  if (isIpv4(host!)) {
    const prefix = Number(prefixText ?? 32);
    if (prefix > 32) throw badRule(text);
    return { kind: "network", address: host!, prefix, ...withPort };
  }
  const isBelow = host!.startsWith("*.");
  const name = (isBelow ? host!.slice(2) : host!).toLowerCase().replace(/\.$/, "");
  // "1.2.3" is no name of anybody, and "999.1.1.1" no address: both are slips.
  if (prefixText !== undefined || !NAME.test(name) || /(^|\.)\d+$/.test(name)) throw badRule(text);
  return { kind: "name", name, isBelow, ...withPort };
}

function badRule(text: string): BangerError {
  return new BangerError(
    "invalid_argument",
    `Cannot allow ${quote(text)}: it is not HOST[:PORT]`,
    "Write a name (packages.example.net), all names below one (*.debian.org), an IPv4 address or network " +
      "(10.1.0.0/16), each with :PORT to allow only that, or * for everything",
  );
}

function isAddress(text: string): boolean {
  return isIpv4(text) || (text.includes(":") && /^[0-9a-fA-F:]{2,39}$/.test(text));
}

export function isIpv4(text: string): boolean {
  const bytes = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  return bytes !== null && bytes.slice(1).every((byte) => Number(byte) <= 255);
}

/** @returns the address as an unsigned 32-bit number */
export function ipv4Number(address: string): number {
  return address.split(".").reduce((sum, byte) => sum * 256 + Number(byte), 0);
}

export function ipv4Text(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join(".");
}
