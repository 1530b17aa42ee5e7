/**
 * Bridge mode as plans: commands and one nftables ruleset, from what is there and what is wanted. Nothing here
 * runs anything, so that it can be shown (`--dry-run`) and compared.
 *
 * Everything of ours has our names: the bridge, the taps, the table. Nothing else of the host is touched but the
 * forwarding of IPv4, which is put back as it was.
 */
import { BRIDGE_NETWORK } from "../../base/addresses.ts";
import type { NetRule } from "../../base/net_rules.ts";
import { PROTECTED } from "../policy.ts";

export const BRIDGE = "banger0";
export const TABLE = "banger";
const { gateway: GATEWAY, address: NETWORK, prefixLength: PREFIX_LENGTH } = BRIDGE_NETWORK;
/** Of the bridge; a bridge without one takes its ports' and changes with them. */
const BRIDGE_MAC = "52:55:0a:45:00:01";
/** Taps that are made ahead. */
export const POOL_SIZE = 4;
const TAP = /^bgr\d{1,5}$/;
/** Connections of one guest at a time: the host's table of them is everybody's. */
const MAX_CONNECTIONS = 4096;
const FORWARDING = "/proc/sys/net/ipv4/ip_forward";

export function isOurTap(name: string): boolean {
  return TAP.test(name);
}

/** What is there. */
export interface Observed {
  readonly hasBridge: boolean;
  /** Ours only. */
  readonly taps: readonly string[];
  readonly hasTable: boolean;
  readonly forwards: boolean;
}

/** A name that was resolved for a guest: its addresses may be reached. */
export interface Pin {
  readonly address: string;
  readonly port?: number;
}

export interface BridgeVm {
  readonly address: string;
  readonly mac: string;
  readonly tap: string;
  readonly allow: readonly NetRule[];
  readonly pins: readonly Pin[];
}

export interface Wanted {
  readonly vms: readonly BridgeVm[];
  /** Taps that wait for a VM. */
  readonly spareTaps: readonly string[];
  /** Whether the host forwarded IPv4 before us. */
  readonly forwardedBefore: boolean;
}

export interface BridgeStep {
  readonly argv: readonly string[];
  readonly stdin?: string;
}

/** From what is there to what is wanted. What is right already gives no step but the ruleset, which is one transaction. */
export function bridgePlan(observed: Observed, wanted: Wanted): BridgeStep[] {
  const steps: BridgeStep[] = [];
  const run = (...argv: string[]) => void steps.push({ argv });
  const taps = [...wanted.vms.map(({ tap }) => tap), ...wanted.spareTaps];
  // Before anything is forwarded, what may be is said.
  if (!observed.hasBridge) {
    run("ip", "link", "add", "name", BRIDGE, "address", BRIDGE_MAC, "type", "bridge");
  }
  steps.push({ argv: ["nft", "-f", "-"], stdin: ruleset(wanted) });
  run("ip", "address", "replace", `${GATEWAY}/${PREFIX_LENGTH}`, "dev", BRIDGE);
  run("ip", "link", "set", BRIDGE, "up");
  for (const tap of observed.taps) if (!taps.includes(tap)) run("ip", "link", "delete", tap);
  for (const tap of taps) {
    if (observed.taps.includes(tap)) continue;
    run("ip", "tuntap", "add", "dev", tap, "mode", "tap");
    run("ip", "link", "set", tap, "master", BRIDGE);
    // Ports that are isolated reach the bridge and not each other.
    run("bridge", "link", "set", "dev", tap, "isolated", "on");
    run("ip", "link", "set", tap, "up");
  }
  if (!observed.forwards) run("sh", "-c", `echo 1 > ${FORWARDING}`);
  return steps;
}

/** Nothing of ours is left. */
export function teardownPlan(observed: Observed, forwardedBefore: boolean): BridgeStep[] {
  const steps: BridgeStep[] = [];
  if (observed.forwards && !forwardedBefore) steps.push({ argv: ["sh", "-c", `echo 0 > ${FORWARDING}`] });
  for (const tap of observed.taps) steps.push({ argv: ["ip", "link", "delete", tap] });
  if (observed.hasBridge) steps.push({ argv: ["ip", "link", "delete", BRIDGE] });
  if (observed.hasTable) {
    const stdin = ["inet", "bridge"].map((family) =>
      `table ${family} ${TABLE} {}\ndelete table ${family} ${TABLE}\n`
    ).join("");
    steps.push({ argv: ["nft", "-f", "-"], stdin });
  }
  return steps;
}

/** Both tables, whole: what somebody changed by hand in them is gone with the next change of ours. Exported for tests. */
export function ruleset(wanted: Wanted): string {
  const { vms, forwardedBefore } = wanted;
  return `table inet ${TABLE} {}
delete table inet ${TABLE}
table inet ${TABLE} {
${sets(vms)}${vms.map(vmChain).join("")}${guestChains(vms)}${hooks(forwardedBefore)}}
table bridge ${TABLE} {}
delete table bridge ${TABLE}
table bridge ${TABLE} {
  chain prerouting {
    type filter hook prerouting priority filter; policy accept;
${vms.map(ownAddressOnly).join("")}    iifname "bgr*" drop
  }
}
`;
}

function sets(vms: readonly BridgeVm[]): string {
  return `  set protected {
    type ipv4_addr; flags interval
    elements = { ${PROTECTED.map(([network, prefix]) => `${network}/${prefix}`).join(", ")} }
  }
  set refused {
    type ipv4_addr . ipv4_addr . inet_proto . inet_service
    size 4096; flags dynamic,timeout; timeout 1h
  }
  set pinned {
    type ipv4_addr . ipv4_addr . inet_service${elementsOf(pinnedElements(vms, true))}
  }
  set pinned_any_port {
    type ipv4_addr . ipv4_addr${elementsOf(pinnedElements(vms, false))}
  }
  set connections {
    type ipv4_addr
    size 65535; flags dynamic
  }
`;
}

/** What guests send, by where it goes. */
function guestChains(vms: readonly BridgeVm[]): string {
  const jumps = vms.map(({ address }) => `${address} : jump ${chainOf(address)}`);
  const vmap = jumps.length === 0 ? "" : `    ip saddr vmap { ${jumps.join(", ")} }\n`;
  return `  chain refuse {
    meta l4proto { tcp, udp } update @refused { ip saddr . ip daddr . meta l4proto . th dport counter }
    meta l4proto tcp reject with tcp reset
    reject with icmpx admin-prohibited
  }
  chain from_guest {
    ct state established,related accept
    add @connections { ip saddr ct count over ${MAX_CONNECTIONS} } drop
${vmap}    goto refuse
  }
  chain from_guest_to_host {
${vms.flatMap(hostRules).join("")}    goto refuse
  }
`;
}

function hooks(forwardedBefore: boolean): string {
  // Where the host forwarded nothing before us, we open it for our bridge only.
  const others = forwardedBefore ? "" : `    iifname != "${BRIDGE}" oifname != "${BRIDGE}" drop\n`;
  return `  chain input {
    type filter hook input priority filter; policy accept;
    iifname "${BRIDGE}" ct state established,related accept
    iifname "${BRIDGE}" ip daddr ${GATEWAY} icmp type echo-request limit rate 20/second accept
    iifname "${BRIDGE}" ip daddr ${GATEWAY} udp dport 53 limit rate 1000/second accept
    iifname "${BRIDGE}" meta nfproto ipv4 goto from_guest_to_host
    iifname "${BRIDGE}" drop
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
${others}    iifname "${BRIDGE}" oifname "${BRIDGE}" goto refuse
    iifname "${BRIDGE}" meta nfproto ipv4 goto from_guest
    iifname "${BRIDGE}" drop
    oifname "${BRIDGE}" ct state established,related accept
    oifname "${BRIDGE}" drop
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr ${NETWORK}/${PREFIX_LENGTH} oifname != "${BRIDGE}" masquerade
  }
`;
}

/** A guest has its card and its address; what says to come from another is nobody's. */
function ownAddressOnly({ tap, mac, address }: BridgeVm): string {
  return `    iifname "${tap}" ether saddr ${mac} ip saddr ${address} accept
    iifname "${tap}" ether saddr ${mac} arp saddr ip ${address} accept
`;
}

function chainOf(address: string): string {
  return `vm_${address.replaceAll(".", "_")}`;
}

function pinnedElements(vms: readonly BridgeVm[], withPort: boolean): string[] {
  return vms.flatMap(({ address, pins }) =>
    pins.filter(({ port }) => (port !== undefined) === withPort).map((pin) => pinElement(address, pin))
  );
}

function pinElement(guest: string, { address, port }: Pin): string {
  return `${guest} . ${address}${port === undefined ? "" : ` . ${port}`}`;
}

function elementsOf(elements: readonly string[]): string {
  return elements.length === 0 ? "" : `\n    elements = { ${elements.join(", ")} }`;
}

/** Lets a guest reach more addresses, without touching what is counted. */
export function pinPlan(guest: string, pins: readonly Pin[]): BridgeStep[] {
  return pins.map((pin) => ({
    argv: [
      ...["nft", "add", "element", "inet", TABLE, pin.port === undefined ? "pinned_any_port" : "pinned"],
      `{ ${pinElement(guest, pin)} }`,
    ],
  }));
}

function vmChain({ address, allow }: BridgeVm): string {
  const exact = allow.filter(isOneAddress).map((rule) => accept(rule.address, rule.port));
  const rest = allow.flatMap((rule) => {
    if (rule.kind === "any") return ["accept"];
    return rule.kind === "network" && rule.prefix < 32
      ? [accept(`${rule.address}/${rule.prefix}`, rule.port)]
      : [];
  });
  const named = [
    "ip saddr . ip daddr . th dport @pinned accept",
    "ip saddr . ip daddr @pinned_any_port accept",
  ];
  const rules = [...exact, "ip daddr @protected goto refuse", ...rest, ...named, "goto refuse"];
  return `  chain ${chainOf(address)} {\n${rules.map((rule) => `    ${rule}\n`).join("")}  }\n`;
}

/** The host itself, where its very address is allowed. */
function hostRules({ address, allow }: BridgeVm): string[] {
  return allow.filter(isOneAddress).map((rule) =>
    `    ip saddr ${address} ${accept(rule.address, rule.port)}\n`
  );
}

function isOneAddress(rule: NetRule): rule is Extract<NetRule, { kind: "network" }> {
  return rule.kind === "network" && rule.prefix === 32;
}

function accept(addresses: string, port: number | undefined): string {
  const to = port === undefined ? "" : ` meta l4proto { tcp, udp } th dport ${port}`;
  return `ip daddr ${addresses}${to} accept`;
}

/** The plan for people, as a shell would take it. */
export function describePlan(steps: readonly BridgeStep[]): string {
  return steps.map(({ argv, stdin }) =>
    stdin === undefined ? argv.map(quoteWord).join(" ") : `${argv.join(" ")} <<'END'\n${stdin}END`
  ).join("\n");
}

function quoteWord(word: string): string {
  return /^[A-Za-z0-9_./:@%+=-]+$/.test(word) ? word : `'${word}'`;
}
