import { BRIDGE_NETWORK } from "../base/addresses.ts";
import { reasonOf } from "../base/errors.ts";
import type { Host } from "../base/host.ts";
import { ipv4Number, ipv4Text, type NetRule } from "../base/net_rules.ts";
import type { UdpSocket } from "../base/network.ts";
import { type BridgeGuest, BridgeNetwork } from "../net/bridge/bridge_network.ts";
import type { Refusal } from "../net/control.ts";
import { EgressPolicy, HOST_NAME, RefusalLog } from "../net/policy.ts";
import { GuestResolver } from "../net/user/resolver.ts";

const DNS_PORT = 53;

/** What one guest on the bridge may resolve. */
interface GuestNames {
  readonly policy: EgressPolicy;
  readonly refusals: RefusalLog;
  readonly resolver: GuestResolver;
}

/**
 * The bridge, and its name server at the gateway: guests ask it as they ask 10.0.2.3 in user mode, and what it
 * answers is what rules with names mean. It runs in the daemon, so guests resolve nothing while there is none.
 */
export class NamedBridge extends BridgeNetwork {
  readonly #host: Host;
  readonly #names = new Map<string, GuestNames>();
  #udp: UdpSocket | undefined;

  constructor(host: Host, statePath: string) {
    super(host, statePath);
    this.#host = host;
  }

  override async attach(guest: BridgeGuest): Promise<string> {
    const meant = { ...guest, allow: guest.allow.map(hostByAddress) };
    const tap = await super.attach(meant);
    this.#nameGuest(meant);
    await this.#listen();
    return tap;
  }

  override adopt(guest: BridgeGuest, tap: string): void {
    const meant = { ...guest, allow: guest.allow.map(hostByAddress) };
    super.adopt(meant, tap);
    this.#nameGuest(meant);
  }

  override async recover(): Promise<void> {
    await super.recover();
    if (this.#names.size > 0) await this.#listen();
  }

  override async detach(id: string): Promise<void> {
    this.#names.delete(id);
    await super.detach(id);
  }

  /** Names and addresses that a guest was refused. */
  async refusalsOf(id: string, address: string): Promise<Refusal[]> {
    return [...this.#names.get(id)?.refusals.list() ?? [], ...await this.refusals(address)];
  }

  override async shutDown(): Promise<void> {
    this.#udp?.close();
    this.#udp = undefined;
    await super.shutDown();
  }

  #nameGuest({ id, allow }: BridgeGuest): void {
    const { clock, network } = this.#host;
    const known = this.#names.get(id);
    if (known) return known.policy.change(allow);
    const policy = new EgressPolicy(clock, () => network.ownAddresses(), allow);
    const refusals = new RefusalLog(() => clock.now());
    const resolver = new GuestResolver(this.#host, policy, refusals, {
      hostAddress: ipv4Number(BRIDGE_NETWORK.gateway),
      onResolved: (name, addresses) =>
        this.pin(
          id,
          addresses.flatMap((address) =>
            policy.portsOf(name).map((port) => ({
              address: ipv4Text(address),
              ...(port === undefined ? {} : { port }),
            }))
          ),
        ),
    });
    this.#names.set(id, { policy, refusals, resolver });
  }

  /** Asks for nothing that is not there: the gateway's address comes with the first guest. */
  async #listen(): Promise<void> {
    if (this.#udp) return;
    try {
      const socket = await this.#host.network.bindUdp(BRIDGE_NETWORK.gateway, DNS_PORT, (message, from) => {
        void this.#answer(message, from.address).then((answer) => answer && socket.send(answer, from));
      });
      this.#udp = socket;
    } catch (thrown) {
      this.#host.log("error", "no name server for guests on the bridge", { reason: reasonOf(thrown) });
    }
  }

  async #answer(message: Uint8Array, from: string): Promise<Uint8Array | undefined> {
    const guest = this.at(from);
    return guest && await this.#names.get(guest.id)?.resolver.answer(message, false);
  }
}

/** The host's name in a rule is its address on the bridge. */
function hostByAddress(rule: NetRule): NetRule {
  if (rule.kind !== "name" || rule.name !== HOST_NAME || rule.isBelow) return rule;
  const { name: _name, isBelow: _below, ...rest } = rule;
  return { ...rest, kind: "network", address: BRIDGE_NETWORK.gateway, prefix: 32 };
}
