import { ipv4Number, ipv4Text, isIpv4, type NetRule } from "../base/net_rules.ts";
import type { Refusal } from "./control.ts";

/** What the guest calls this host, and where it finds it. Nothing answers there unless it is allowed. */
export const HOST_NAME = "host.banger.internal";
export const HOST_ADDRESS = ipv4Number("10.0.2.2");

/** Denied unless the very address is allowed, whatever else is: what a guest must not reach by accident. */
export const PROTECTED: readonly (readonly [string, number, string])[] = [
  ["0.0.0.0", 8, "this host"],
  ["127.0.0.0", 8, "this host's loopback"],
  ["10.0.2.0", 24, "this host's loopback"],
  // Clouds hand out credentials here to whoever asks.
  ["169.254.0.0", 16, "cloud metadata and link-local services"],
  ["100.100.100.200", 32, "cloud metadata"],
  ["192.0.0.192", 32, "cloud metadata"],
  ["168.63.129.16", 32, "cloud metadata"],
  ["224.0.0.0", 4, "multicast"],
  ["240.0.0.0", 4, "reserved addresses"],
];

/** A name that was resolved for the guest is good for this long at least: programs connect later than they ask. */
const MIN_PIN_MS = 60_000;
const MAX_PINS = 4096;
const OWN_ADDRESSES_AGE_MS = 10_000;

export type Verdict =
  | { readonly allowed: true }
  | { readonly allowed: false; readonly why: string; readonly target: string };

interface Clock {
  /** Milliseconds on a clock that never jumps. */
  monotonicMs(): number;
}

/**
 * What a guest may reach. Rules with names hold for the addresses that our resolver gave the guest for them,
 * so a guest cannot make a name mean something else.
 */
export class EgressPolicy {
  readonly #clock: Clock;
  readonly #ownAddresses: () => readonly string[];
  #rules: readonly NetRule[];
  /** By address: names that it was given for, and until when. */
  readonly #pins = new Map<number, Map<string, number>>();
  #own: ReadonlySet<number> = new Set();
  #ownAtMs = -Infinity;

  constructor(clock: Clock, ownAddresses: () => readonly string[], rules: readonly NetRule[]) {
    this.#clock = clock;
    this.#ownAddresses = ownAddresses;
    this.#rules = rules;
  }

  change(rules: readonly NetRule[]): void {
    this.#rules = rules;
  }

  /** Whether the guest may connect to, or send to, a port of an address. */
  decide(address: number, port: number): Verdict {
    const matching = this.#rules.filter((rule) =>
      rule.kind === "any" || rule.port === undefined || rule.port === port
    );
    if (matching.some((rule) => isExactly(rule, address))) return { allowed: true };
    const names = this.#namesOf(address);
    const target = names[0] ?? ipv4Text(address);
    const what = this.#protectedKind(address);
    if (what) return { allowed: false, why: `${what}: denied unless its address is allowed`, target };
    const isAllowed = matching.some((rule) =>
      rule.kind === "any" || (rule.kind === "network" && isInside(rule, address)) ||
      (rule.kind === "name" && names.some((name) => matches(rule, name)))
    );
    return isAllowed
      ? { allowed: true }
      : { allowed: false, why: "not allowed by the VM's network policy", target };
  }

  /** Whether the guest may resolve a name, in lower case and without the last dot. */
  mayResolve(name: string): boolean {
    return name === HOST_NAME ||
      this.#rules.some((rule) => rule.kind === "any" || (rule.kind === "name" && matches(rule, name)));
  }

  /** The ports on which the rules with names let the guest reach a name; undefined among them for all. */
  portsOf(name: string): (number | undefined)[] {
    return this.#rules.flatMap((rule) => rule.kind === "name" && matches(rule, name) ? [rule.port] : []);
  }

  /** Remembers what a name was resolved to. */
  pin(name: string, address: number, ttlSeconds: number): void {
    const untilMs = this.#clock.monotonicMs() + Math.max(MIN_PIN_MS, Math.min(ttlSeconds, 86_400) * 1000);
    const names = this.#pins.get(address) ?? new Map<string, number>();
    names.set(name, untilMs);
    // The youngest last: what is oldest goes first.
    this.#pins.delete(address);
    this.#pins.set(address, names);
    if (this.#pins.size > MAX_PINS) this.#pins.delete(this.#pins.keys().next().value!);
    if (names.size > 16) names.delete(names.keys().next().value!);
  }

  #namesOf(address: number): string[] {
    const names = this.#pins.get(address);
    if (!names) return [];
    const nowMs = this.#clock.monotonicMs();
    for (const [name, untilMs] of names) if (untilMs < nowMs) names.delete(name);
    return [...names.keys()].reverse();
  }

  #protectedKind(address: number): string | undefined {
    for (const [network, prefix, what] of PROTECTED) {
      if (isInside({ address: network, prefix }, address)) return what;
    }
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#ownAtMs > OWN_ADDRESSES_AGE_MS) {
      this.#own = new Set(this.#ownAddresses().filter(isIpv4).map(ipv4Number));
      this.#ownAtMs = nowMs;
    }
    return this.#own.has(address) ? "an address of this host" : undefined;
  }
}

/** A rule that means this address and no other. */
function isExactly(rule: NetRule, address: number): boolean {
  if (rule.kind === "name") return rule.name === HOST_NAME && !rule.isBelow && address === HOST_ADDRESS;
  return rule.kind === "network" && rule.prefix === 32 && ipv4Number(rule.address) === address;
}

function isInside(network: { readonly address: string; readonly prefix: number }, address: number): boolean {
  const size = 2 ** (32 - network.prefix);
  return Math.floor(ipv4Number(network.address) / size) === Math.floor(address / size);
}

function matches(rule: { readonly name: string; readonly isBelow: boolean }, name: string): boolean {
  return rule.isBelow ? name.endsWith(`.${rule.name}`) : name === rule.name;
}

const MAX_REFUSALS = 200;

/** What was refused lately, each target once. */
export class RefusalLog {
  readonly #now: () => number;
  readonly #refusals = new Map<string, Refusal>();

  /** @param now wall clock */
  constructor(now: () => number) {
    this.#now = now;
  }

  add(refusal: Omit<Refusal, "count" | "lastAtMs">): void {
    const key = `${refusal.protocol} ${refusal.target} ${refusal.port}`;
    const count = (this.#refusals.get(key)?.count ?? 0) + 1;
    this.#refusals.delete(key);
    this.#refusals.set(key, { ...refusal, count, lastAtMs: this.#now() });
    if (this.#refusals.size > MAX_REFUSALS) this.#refusals.delete(this.#refusals.keys().next().value!);
  }

  /** The latest first. */
  list(): Refusal[] {
    return [...this.#refusals.values()].reverse();
  }
}
