/**
 * How this host's resolver learns to ask banger's name server for `.vm`: plans only, as commands that can be
 * shown before they are run. Nothing here runs anything.
 */
import { BangerError } from "../../base/errors.ts";

export type SetupKind = "systemd-resolved" | "networkmanager-dnsmasq" | "hosts-file";

export const SETUP_KINDS: readonly SetupKind[] = ["systemd-resolved", "networkmanager-dnsmasq", "hosts-file"];

/** One command, run as root. */
export interface SetupStep {
  readonly argv: readonly string[];
  readonly stdin?: string;
  /** Whether a failure means only that there was nothing to undo. */
  readonly mayFail?: boolean;
}

export interface NameRecord {
  /** `web.vm` */
  readonly name: string;
  readonly address: string;
}

export interface SetupFacts {
  /** Of the name server. */
  readonly address: string;
  readonly port: number;
  /** For the hosts file only: the others ask the server. */
  readonly records: readonly NameRecord[];
  /** `/etc/hosts` as it is. */
  readonly hostsText: string;
}

export const HOSTS_PATH = "/etc/hosts";
/** A link of our own, since systemd-resolved routes names to links. Nothing is ever sent over it. */
const LINK = "banger-dns";
/** For benchmarks only (RFC 2544): no network has it. systemd-resolved uses only links with such an address. */
const LINK_ADDRESS = "198.18.42.69/32";
const DNSMASQ_PATH = "/etc/NetworkManager/dnsmasq.d/banger.conf";
const BEGIN = "# banger begin: names of VMs; changes here are lost";
const END = "# banger end";

/** What makes this host resolve `.vm`. Doing it twice is the same as once. */
export function installPlan(kind: SetupKind, facts: SetupFacts): SetupStep[] {
  const server = `${facts.address}:${facts.port}`;
  switch (kind) {
    case "systemd-resolved":
      return [
        { argv: ["ip", "link", "add", LINK, "type", "dummy"], mayFail: true },
        { argv: ["ip", "addr", "replace", LINK_ADDRESS, "dev", LINK] },
        { argv: ["ip", "link", "set", LINK, "up"] },
        { argv: ["resolvectl", "dns", LINK, server] },
        { argv: ["resolvectl", "domain", LINK, "~vm", "~42.127.in-addr.arpa", "~69.10.in-addr.arpa"] },
        { argv: ["resolvectl", "default-route", LINK, "no"] },
      ];
    case "networkmanager-dnsmasq":
      return [
        { argv: ["tee", DNSMASQ_PATH], stdin: dnsmasqConfig(facts) },
        { argv: ["nmcli", "general", "reload", "dns-full"] },
      ];
    case "hosts-file":
      return [writeHosts(withBlock(facts.hostsText, facts.records))];
  }
}

/** What undoes it. Fine where there is nothing. */
export function uninstallPlan(kind: SetupKind, facts: Pick<SetupFacts, "hostsText">): SetupStep[] {
  switch (kind) {
    case "systemd-resolved":
      return [{ argv: ["ip", "link", "delete", LINK], mayFail: true }];
    case "networkmanager-dnsmasq":
      return [
        { argv: ["rm", "-f", DNSMASQ_PATH] },
        { argv: ["nmcli", "general", "reload", "dns-full"] },
      ];
    case "hosts-file":
      return hasBlock(facts.hostsText) ? [writeHosts(withoutBlock(facts.hostsText))] : [];
  }
}

/** A command that succeeds where the setup is there. */
export function probe(kind: SetupKind): readonly string[] {
  if (kind === "systemd-resolved") return ["ip", "link", "show", LINK];
  if (kind === "networkmanager-dnsmasq") return ["test", "-e", DNSMASQ_PATH];
  return ["grep", "-qxF", BEGIN, HOSTS_PATH];
}

/** A command that succeeds where the host has what the setup needs; the best kind first. */
export function detection(kind: SetupKind): readonly string[] {
  if (kind === "systemd-resolved") return ["resolvectl", "--no-pager", "status"];
  if (kind === "networkmanager-dnsmasq") return ["grep", "-rqsE", "^dns=dnsmasq", "/etc/NetworkManager"];
  return ["true"];
}

/** dnsmasq(8), `--server=/domain/address#port`. Exported for tests. */
export function dnsmasqConfig({ address, port }: Pick<SetupFacts, "address" | "port">): string {
  return `# Written by banger: its VMs' names.\nserver=/vm/${address}#${port}\n` +
    `server=/42.127.in-addr.arpa/${address}#${port}\nserver=/69.10.in-addr.arpa/${address}#${port}\n`;
}

/** The steps for people: commands as a shell takes them, files with what gets into them. */
export function describeSteps(steps: readonly SetupStep[]): string {
  return steps.map(({ argv, stdin }) => {
    const command = argv.map(shellWord).join(" ");
    if (stdin === undefined) return `  ${command}`;
    const own = stdin.includes(BEGIN) ? stdin.slice(stdin.indexOf(BEGIN)) : stdin;
    const rest = own === stdin ? "" : "    (what is there stays)\n";
    return `  ${command}\n${rest}${own.trimEnd().replaceAll(/^/gm, "    ")}`;
  }).join("\n");
}

function shellWord(word: string): string {
  return /^[A-Za-z0-9_./:@%+=~-]+$/.test(word) && !word.startsWith("~")
    ? word
    : `'${word.replaceAll("'", "'\\''")}'`;
}

/** Without a rename: where the file is a mount (in containers), only its content can change. */
function writeHosts(text: string): SetupStep {
  return { argv: ["tee", HOSTS_PATH], stdin: text };
}

function hasBlock(text: string): boolean {
  return text.split("\n").includes(BEGIN);
}

function withBlock(text: string, records: readonly NameRecord[]): string {
  const kept = withoutBlock(text);
  const gap = kept === "" || kept.endsWith("\n") ? "" : "\n";
  const lines = records.map(({ name, address }) => `${address} ${name}`);
  return `${kept}${gap}${[BEGIN, ...lines, END].join("\n")}\n`;
}

/** @throws {BangerError} `corrupt_data` where somebody removed the block's end: what is whose, nobody knows */
function withoutBlock(text: string): string {
  const lines = text.split("\n");
  const begin = lines.indexOf(BEGIN);
  if (begin < 0) return text;
  const end = lines.indexOf(END, begin);
  if (end < 0) {
    throw new BangerError(
      "corrupt_data",
      `Cannot change ${HOSTS_PATH}: banger's block in it has no end`,
      `Remove the lines of banger, from "${BEGIN}" on, by hand`,
    );
  }
  lines.splice(begin, end - begin + 1);
  return lines.join("\n");
}
