import { BangerError } from "../../base/errors.ts";
import type { Host } from "../../base/host.ts";
import type { NetRule } from "../../base/net_rules.ts";
import type { Refusal } from "../control.ts";
import {
  BRIDGE,
  bridgePlan,
  type BridgeStep,
  type BridgeVm,
  isOurTap,
  type Observed,
  type Pin,
  pinPlan,
  POOL_SIZE,
  TABLE,
  teardownPlan,
  type Wanted,
} from "./plan.ts";
import { parseRefused } from "./refused.ts";

const MAX_REFUSALS = 200;
const FORWARDING_PATH = "/proc/sys/net/ipv4/ip_forward";

type BridgeHost = Pick<Host, "processes" | "files" | "clock" | "log">;

export interface BridgeGuest {
  readonly id: string;
  readonly address: string;
  readonly mac: string;
  readonly allow: readonly NetRule[];
}

/**
 * The bridge, its taps and its rules. What is there is read each time and brought to what is wanted, so it does
 * not matter what a killed daemon left, nor what somebody changed.
 */
export class BridgeNetwork {
  readonly #host: BridgeHost;
  readonly #statePath: string;
  readonly #guests = new Map<string, { guest: BridgeGuest; tap: string; pins: Map<string, Pin> }>();
  readonly #refusals = new Map<string, Refusal[]>();
  #changing: Promise<unknown> = Promise.resolve();

  /** @param statePath remembers whether the host forwarded before us, for as long as we do */
  constructor(host: BridgeHost, statePath: string) {
    this.#host = host;
    this.#statePath = statePath;
  }

  /** @throws {BangerError} `host_unsupported`, `missing_tool`, `permission_denied` */
  async attach(guest: BridgeGuest): Promise<string> {
    return await this.#alone(async () => {
      const known = this.#guests.get(guest.id);
      const observed = await this.#observe();
      if (observed.hasBridge && !(await this.#isOurs())) throw notOurs();
      const tap = known?.tap ?? this.#freeTap(observed);
      this.#guests.set(guest.id, { guest, tap, pins: known?.pins ?? new Map() });
      try {
        await this.#sync(observed);
      } catch (thrown) {
        if (!known) this.#guests.delete(guest.id);
        throw thrown;
      }
      return tap;
    });
  }

  /** Takes in a guest that runs already, as it was recorded; `sync` follows. */
  adopt(guest: BridgeGuest, tap: string): void {
    this.#guests.set(guest.id, { guest, tap, pins: new Map() });
  }

  /** Its tap goes back to the pool. Fine where it had none. */
  async detach(id: string): Promise<void> {
    const known = this.#guests.get(id);
    if (!known) return;
    await this.#alone(async () => {
      this.#guests.delete(id);
      this.#refusals.delete(known.guest.address);
      await this.#sync(await this.#observe());
    });
  }

  has(id: string): boolean {
    return this.#guests.has(id);
  }

  /** Guests by their address. */
  at(address: string): BridgeGuest | undefined {
    return [...this.#guests.values()].find(({ guest }) => guest.address === address)?.guest;
  }

  /** Lets a guest reach what a name was resolved to. */
  async pin(id: string, pins: readonly Pin[]): Promise<void> {
    const known = this.#guests.get(id);
    const fresh = pins.filter((pin) => known && !known.pins.has(keyOf(pin)));
    if (!known || fresh.length === 0) return;
    await this.#alone(async () => {
      await this.#run(pinPlan(known.guest.address, fresh));
      for (const pin of fresh) known.pins.set(keyOf(pin), pin);
    });
  }

  /** After a start of the daemon: all as it should be, or nothing of ours where no guest is. */
  async recover(): Promise<void> {
    await this.#alone(async () => {
      if (this.#guests.size > 0) await this.#sync(await this.#observe());
      else if (await this.#isOurs()) await this.#tearDown(await this.#observe());
    });
  }

  /** Takes everything down where no guest is there any more. */
  async shutDown(): Promise<void> {
    if (this.#guests.size > 0) return;
    await this.recover();
  }

  /** What would be done now, on this host as it is, to have the bridge and its guests. */
  async dryRun(): Promise<BridgeStep[]> {
    const observed = await this.#observe();
    const forwardedBefore = await this.#isOurs() ? await this.#forwardedBefore() : observed.forwards;
    return bridgePlan(observed, this.#wanted(observed, forwardedBefore));
  }

  list(): { readonly address: string; readonly tap: string }[] {
    return [...this.#guests.values()].map(({ guest, tap }) => ({ address: guest.address, tap }));
  }

  /** What was refused to a guest lately, the latest first. */
  async refusals(address: string): Promise<Refusal[]> {
    await this.#alone(() => this.#keepRefusals());
    const now = this.#refusals.get(address) ?? [];
    return now.toSorted((a, b) => b.lastAtMs - a.lastAtMs);
  }

  /** The set is emptied with each change of the rules: what it says is kept before. */
  async #keepRefusals(): Promise<void> {
    const { code, stdout } = await this.#host.processes.run({
      program: "nft",
      args: ["-j", "list", "set", "inet", TABLE, "refused"],
    });
    if (code !== 0) return; // there is no table yet
    for (const { guest } of this.#guests.values()) {
      const found = parseRefused(stdout, guest.address, this.#host.clock.now());
      const key = (refusal: Refusal) => `${refusal.protocol} ${refusal.target} ${refusal.port}`;
      const fresh = new Set(found.map(key));
      const before = (this.#refusals.get(guest.address) ?? []).filter((refusal) => !fresh.has(key(refusal)));
      this.#refusals.set(guest.address, [...found, ...before].slice(0, MAX_REFUSALS));
    }
  }

  #alone<T>(act: () => Promise<T>): Promise<T> {
    const result = this.#changing.then(act);
    this.#changing = result.catch(() => {}); // whoever asked hears of it
    return result;
  }

  #freeTap(observed: Observed): string {
    const taken = new Set([...this.#guests.values()].map(({ tap }) => tap));
    const spare = observed.taps.find((tap) => !taken.has(tap));
    if (spare) return spare;
    for (let index = 1;; index++) if (!taken.has(`bgr${index}`)) return `bgr${index}`;
  }

  #wanted(observed: Observed, forwardedBefore: boolean): Wanted {
    const vms: BridgeVm[] = [...this.#guests.values()].map(({ guest, tap, pins }) => ({
      address: guest.address,
      mac: guest.mac,
      tap,
      allow: guest.allow,
      pins: [...pins.values()],
    }));
    const taken = new Set(vms.map(({ tap }) => tap));
    const spareTaps = observed.taps.filter((tap) => !taken.has(tap)).slice(0, POOL_SIZE);
    for (let index = 1; spareTaps.length < POOL_SIZE; index++) {
      const tap = `bgr${index}`;
      if (!taken.has(tap) && !spareTaps.includes(tap)) spareTaps.push(tap);
    }
    return { vms, spareTaps, forwardedBefore };
  }

  async #sync(observed: Observed): Promise<void> {
    const { files } = this.#host;
    await this.#keepRefusals();
    // Written before the first change: who comes after us must know what to put back.
    if (!(await this.#isOurs())) {
      await files.writeAtomic(this.#statePath, JSON.stringify({ forwardedBefore: observed.forwards }), 0o600);
    }
    await this.#run(bridgePlan(observed, this.#wanted(observed, await this.#forwardedBefore())));
  }

  async #tearDown(observed: Observed): Promise<void> {
    await this.#run(teardownPlan(observed, await this.#forwardedBefore()));
    await this.#host.files.remove(this.#statePath);
  }

  /** Whether what is there was made by us, or by a daemon of ours before. */
  async #isOurs(): Promise<boolean> {
    return await this.#host.files.stat(this.#statePath) !== undefined;
  }

  async #forwardedBefore(): Promise<boolean> {
    if (!(await this.#isOurs())) return true;
    const state: unknown = JSON.parse(await this.#host.files.readText(this.#statePath, 4096));
    return typeof state === "object" && state !== null && "forwardedBefore" in state &&
      state.forwardedBefore === true;
  }

  async #observe(): Promise<Observed> {
    const links = await this.#host.processes.run({ program: "ip", args: ["-json", "link", "show"] });
    const names = (JSON.parse(links.stdout || "[]") as { ifname?: unknown }[]).map(({ ifname }) =>
      String(ifname)
    );
    const tables = await this.#host.processes.run({ program: "nft", args: ["list", "tables"] });
    if (tables.code !== 0) throw noPrivilege(tables.stderr);
    const forwarding = await this.#host.files.readText(FORWARDING_PATH, 16);
    return {
      hasBridge: names.includes(BRIDGE),
      taps: names.filter(isOurTap).sort(),
      hasTable: new RegExp(`^table (inet|bridge) ${TABLE}$`, "m").test(tables.stdout),
      forwards: forwarding.trim() === "1",
    };
  }

  async #run(steps: readonly BridgeStep[]): Promise<void> {
    for (const { argv, stdin } of steps) {
      const [program, ...args] = argv;
      const options = stdin === undefined ? {} : { stdin: new TextEncoder().encode(stdin) };
      const { code, stderr } = await this.#host.processes.run({ program: program!, args }, options);
      if (code === 0) continue;
      if (/Operation not permitted|Permission denied/.test(stderr)) throw noPrivilege(stderr);
      throw new BangerError(
        "host_unsupported",
        `Cannot set up the bridge: ${argv.join(" ")}: ${stderr.trim().split("\n")[0]}`,
        "See what is there: ip link show banger0; nft list table inet banger",
      );
    }
  }
}

function keyOf({ address, port }: Pin): string {
  return `${address} ${port}`;
}

function notOurs(): BangerError {
  return new BangerError(
    "in_use",
    `Cannot use bridge mode: there is a ${BRIDGE} already, and it is not this banger's`,
    "Stop the VMs of the other banger (another user's, or another XDG_STATE_HOME), or use --network user",
  );
}

function noPrivilege(stderr: string): BangerError {
  return new BangerError(
    "permission_denied",
    `Cannot use bridge mode: it needs root (${stderr.trim().split("\n")[0]})`,
    "Use the network that needs none: --network user",
  );
}
