import { BangerError } from "../../base/errors.ts";
import { quote } from "../../base/names.ts";
import type { GuestConfig } from "../wire/config.ts";
import { type SyncedEntry, syncedFilesTar } from "./synced_files.ts";
import { type UstarEntry, writeUstar } from "./ustar.ts";

/** How the machine's network card is set up; nothing in it is asked for by DHCP. */
export interface GuestNetwork {
  /** IPv4, dotted. */
  readonly address: string;
  readonly prefixLength: number;
  /** Absent where there is no way out. */
  readonly gateway?: string;
  readonly dnsServers: readonly string[];
}

/** Everything that a machine is told at boot. */
export interface BootConfig {
  readonly guest: GuestConfig;
  /** Absent for a machine without a network card. */
  readonly network?: GuestNetwork;
  /** Lines of authorized_keys(5). */
  readonly authorizedKeys: readonly string[];
  readonly hostKey?: {
    /** OpenSSH's own format. */
    readonly privateKey: string;
    /** `ssh-ed25519 AAAA… comment` */
    readonly publicKey: string;
  };
  readonly gitIdentity?: { readonly name: string; readonly email: string };
  /** For every command and login shell. */
  readonly environment: Readonly<Record<string, string>>;
  /** Put over what the guest has of that name. */
  readonly syncedFiles?: readonly SyncedEntry[];
}

/** QEMU's user-mode network hands out the same addresses to every machine. */
export const QEMU_USER_NETWORK: GuestNetwork = {
  address: "10.0.2.15",
  prefixLength: 24,
  gateway: "10.0.2.2",
  dnsServers: ["10.0.2.3"],
};

/**
 * The content of the config disk (docs/architecture.md, "Config tar"): the same bytes for the same config.
 *
 * @returns a tar, a multiple of 4096 bytes
 * @throws {BangerError} `invalid_argument` for what does not fit its line: a line break in a value, a name
 * of an environment variable that no shell takes, an address that is none
 */
export function buildConfigTar(config: BootConfig): Uint8Array<ArrayBuffer> {
  const files: UstarEntry[] = [];
  const add = (name: string, text: string, mode = 0o644) =>
    files.push({ name, mode, content: new TextEncoder().encode(text) });
  add("config.json", `${JSON.stringify(config.guest, undefined, 2)}\n`);
  add("hostname", `${oneLine(config.guest.vmName, "the host name")}\n`);
  if (config.network) add("network", networkText(config.network));
  if (config.authorizedKeys.length > 0) {
    add(
      "authorized_keys",
      lines(config.authorizedKeys.map((key) => oneLine(key, "an authorized key"))),
      0o600,
    );
  }
  if (config.hostKey) {
    add("ssh_host_ed25519_key", config.hostKey.privateKey, 0o600);
    add("ssh_host_ed25519_key.pub", `${oneLine(config.hostKey.publicKey, "the host key")}\n`);
  }
  const environment = Object.entries(config.environment).map(environmentLine);
  // It may hold credentials.
  if (environment.length > 0) add("environment", lines(environment), 0o600);
  if (config.gitIdentity) add("gitconfig", gitConfigText(config.gitIdentity));
  // Last: where it does not fit the guest's memory, everything else is unpacked already.
  if (config.syncedFiles?.length) {
    files.push({ name: "files.tar", mode: 0o600, content: syncedFilesTar(config.syncedFiles) });
  }
  return writeUstar(files);
}

function lines(of: readonly string[]): string {
  return of.map((line) => `${line}\n`).join("");
}

function oneLine(text: string, what: string): string {
  if (!/[\0\r\n]/.test(text)) return text;
  throw new BangerError(
    "invalid_argument",
    `Cannot give ${what} to a machine: it has a line break or a NUL`,
    "Use a value of one line",
  );
}

function environmentLine([name, value]: [string, string]): string {
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
    throw new BangerError(
      "invalid_argument",
      `Cannot set ${quote(name)} in a machine's environment: it is no variable name`,
      "Use letters, digits and underscores, and begin with a letter or underscore",
    );
  }
  return `${name}=${oneLine(value, `the variable ${name}`)}`;
}

/** A shell sources it, so only what is surely an address gets in. */
function networkText(network: GuestNetwork): string {
  const { prefixLength } = network;
  if (!Number.isInteger(prefixLength) || prefixLength < 1 || prefixLength > 32) {
    throw new BangerError(
      "invalid_argument",
      `Cannot use ${prefixLength} as a machine's network prefix length`,
    );
  }
  return lines([
    `ADDRESS=${ipv4(network.address)}`,
    `PREFIX_LENGTH=${prefixLength}`,
    `GATEWAY=${network.gateway === undefined ? "" : ipv4(network.gateway)}`,
    `DNS='${network.dnsServers.map(ipv4).join(" ")}'`,
  ]);
}

function ipv4(text: string): string {
  const bytes = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (bytes?.slice(1).every((byte) => Number(byte) <= 255)) return text;
  throw new BangerError(
    "invalid_argument",
    `Cannot use ${quote(text)} in a machine's network: it is no IPv4 address`,
  );
}

/** Source: git-config(1), "Syntax": in double quotes only `"` and `\` are special. */
function gitConfigText(identity: { readonly name: string; readonly email: string }): string {
  const quoted = (text: string) =>
    `"${oneLine(text, "the git identity").replaceAll(/["\\]/g, (special) => `\\${special}`)}"`;
  return `[user]\n\tname = ${quoted(identity.name)}\n\temail = ${quoted(identity.email)}\n`;
}
