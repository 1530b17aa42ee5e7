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
  /** Whose VMs these are: the state directory. Of several bangers, only one has the hosts file. */
  readonly owner: string;
  /** Of the user whose daemon it is. */
  readonly uid: number;
}

export const HOSTS_PATH = "/etc/hosts";
/**
 * A link of our own, since systemd-resolved routes names to links. Nothing is ever sent over it. It is a TUN link
 * that belongs to the user: it has a carrier while their daemon holds it, and systemd-resolved asks only links that
 * have one, so that the route ends with the daemon, however that ends, and is there again with the next.
 */
export const LINK = "banger-dns";
/** For benchmarks only (RFC 2544): no network has it. systemd-resolved uses only links with such an address. */
const LINK_ADDRESS = "198.18.42.69/32";
/** Makes the link anew at each boot: links and what systemd-resolved knows of them do not outlive the system. */
const UNIT = "banger-dns.service";
const UNIT_PATH = `/etc/systemd/system/${UNIT}`;
const DNSMASQ_PATH = "/etc/NetworkManager/dnsmasq.d/banger.conf";
const BEGIN = "# banger begin: names of VMs; changes here are lost";
const END = "# banger end";
const OWNER = "# of ";

/** What makes this host resolve `.vm`. Doing it twice is the same as once. */
export function installPlan(kind: SetupKind, facts: SetupFacts): SetupStep[] {
  switch (kind) {
    case "systemd-resolved":
      return [
        { argv: ["tee", UNIT_PATH], stdin: unitText(facts) },
        { argv: ["systemctl", "daemon-reload"] },
        { argv: ["systemctl", "enable", UNIT] },
        { argv: ["systemctl", "restart", UNIT] },
      ];
    case "networkmanager-dnsmasq":
      return [
        { argv: ["tee", DNSMASQ_PATH], stdin: dnsmasqConfig(facts) },
        { argv: ["nmcli", "general", "reload", "dns-full"] },
      ];
    case "hosts-file":
      return [writeHosts(withBlock(facts.hostsText, facts))];
  }
}

/** Says which name server the link leads to, for the daemon that holds it (`/sys/class/net/…/ifalias`). */
export function linkAlias({ address, port }: Pick<SetupFacts, "address" | "port">): string {
  return `banger:${address}:${port}`;
}

/** The commands that make the link, in order. Exported for tests. */
export function linkCommands(facts: Pick<SetupFacts, "address" | "port" | "uid">): string[][] {
  return [
    ["ip", "tuntap", "add", "dev", LINK, "mode", "tun", "user", String(facts.uid)],
    ["ip", "link", "set", LINK, "alias", linkAlias(facts)],
    ["ip", "addr", "replace", LINK_ADDRESS, "dev", LINK],
    ["ip", "link", "set", LINK, "up"],
    ["resolvectl", "dns", LINK, `${facts.address}:${facts.port}`],
    // 127.42.x.y backwards is not among them: systemd-resolved says "localhost" for all of 127.0.0.0/8 itself.
    ["resolvectl", "domain", LINK, "~vm", "~69.10.in-addr.arpa"],
    ["resolvectl", "default-route", LINK, "no"],
    // What may be on for the whole host, and what our name server does not speak.
    ...["llmnr", "mdns", "dnssec", "dnsovertls"].map((what) => ["resolvectl", what, LINK, "no"]),
  ];
}

/** systemd.service(5). No `Requires`: systemd-resolved keeps what it knows of links over a restart of its own. */
function unitText(facts: Pick<SetupFacts, "address" | "port" | "uid">): string {
  return `# Written by banger dns install: leads names of VMs to banger's name server.
[Unit]
Description=Names of banger's VMs for systemd-resolved
Wants=systemd-resolved.service
After=systemd-resolved.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStartPre=-ip link delete ${LINK}
${
    linkCommands(facts).map((command) => `ExecStart=${command.join(" ")}\n`).join("")
  }ExecStop=-ip link delete ${LINK}

[Install]
WantedBy=multi-user.target
`;
}

/** What undoes it. Fine where there is nothing. */
export function uninstallPlan(kind: SetupKind, facts: Pick<SetupFacts, "hostsText">): SetupStep[] {
  switch (kind) {
    case "systemd-resolved":
      return [
        { argv: ["systemctl", "disable", "--now", UNIT], mayFail: true },
        { argv: ["rm", "-f", UNIT_PATH] },
        { argv: ["systemctl", "daemon-reload"] },
        // Where the unit was stopped by hand, or never was.
        { argv: ["ip", "link", "delete", LINK], mayFail: true },
      ];
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
  if (kind === "systemd-resolved") return ["test", "-e", UNIT_PATH];
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
    return `  ${command}\n${rest}${own.trimEnd().replaceAll(/^(?=.)/gm, "    ")}`;
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

function withBlock(text: string, { records, owner }: Pick<SetupFacts, "records" | "owner">): string {
  const kept = withoutBlock(text);
  const gap = kept === "" || kept.endsWith("\n") ? "" : "\n";
  const lines = records.map(({ name, address }) => `${address} ${name}`);
  return `${kept}${gap}${[BEGIN, `${OWNER}${owner}`, ...lines, END].join("\n")}\n`;
}

/** Banger's block of a hosts file. @returns undefined where there is none */
export function hostsBlock(
  text: string,
): { readonly owner?: string; readonly records: NameRecord[] } | undefined {
  const lines = text.split("\n");
  const begin = lines.indexOf(BEGIN);
  const end = lines.indexOf(END, begin);
  if (begin < 0 || end < 0) return undefined;
  const inside = lines.slice(begin + 1, end);
  const owner = inside.find((line) => line.startsWith(OWNER))?.slice(OWNER.length);
  const records = inside.filter((line) => !line.startsWith("#") && line.trim() !== "").map((line) => {
    const [address = "", name = ""] = line.trim().split(/\s+/);
    return { name, address };
  });
  return { ...(owner === undefined ? {} : { owner }), records };
}

/**
 * What brings the block up to date, for the banger whose it is.
 *
 * @returns nothing where it is up to date, where there is none, and where it is another banger's
 */
export function hostsUpdate(facts: Pick<SetupFacts, "hostsText" | "records" | "owner">): SetupStep[] {
  if (hostsBlock(facts.hostsText)?.owner !== facts.owner) return [];
  const text = withBlock(facts.hostsText, facts);
  return text === facts.hostsText ? [] : [writeHosts(text)];
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
