import { BangerError, reasonOf } from "../base/errors.ts";
import type { Connection, Host } from "../base/host.ts";
import { SparingLog } from "../base/sparing_log.ts";
import { AgentClient } from "../guest/client/agent_client.ts";
import { serveControl } from "../net/control.ts";
import { UserNetwork } from "../net/user/user_network.ts";
import { type Forward, Forwarder, type GuestListener } from "../net/forward/forwarder.ts";
import { type NetworkSettings, readNetworkSettings } from "../net/settings.ts";

/** The guest's own address (lib/guest/config/config_tar.ts). */
const GUEST_CARD = "10.0.2.15";
const WATCH_AGAIN_MS = 500;
const FRAMES_AGAIN_MS = 50;

export interface NetworkRolePaths {
  readonly settings: string;
  readonly control: string;
}

/**
 * Carries one VM's network until the signal fires: the second half of the relay, for machines that have one.
 * It outlives the daemon, so that neither a connection nor a port is cut by a restart of it.
 */
export async function runNetworkRole(
  host: Host,
  paths: NetworkRolePaths,
  signal: AbortSignal,
): Promise<void> {
  const settings = await readNetworkSettings(host.files, paths.settings);
  if (!settings) return;
  const role = new NetworkRole(host, settings, paths);
  try {
    await role.run(signal);
  } finally {
    await role.close();
  }
}

class NetworkRole {
  readonly #host: Host;
  readonly #paths: NetworkRolePaths;
  readonly #settings: NetworkSettings;
  readonly #agent: AgentClient;
  readonly #forwarder: Forwarder;
  readonly #network: UserNetwork;
  #isWatching = false;
  #truncated = false;
  #listeners: readonly GuestListener[] = [];

  constructor(host: Host, settings: NetworkSettings, paths: NetworkRolePaths) {
    this.#host = host;
    this.#paths = paths;
    this.#settings = settings;
    this.#agent = new AgentClient(host, settings.agent);
    this.#network = new UserNetwork(host, settings.mac, settings.allow);
    this.#forwarder = new Forwarder(host, settings, (port, address) => this.#connect(port, address));
    void this.#forwarder.configure(settings);
  }

  async run(signal: AbortSignal): Promise<void> {
    const control = serveControl(this.#host, this.#paths.control, {
      status: () => ({
        isWatching: this.#isWatching,
        forwards: [...this.#forwarder.list(), ...this.#directPorts()],
        truncated: this.#truncated,
        refusals: this.#network.refusals(),
      }),
      reload: () => this.#reload(),
    }, signal);
    await Promise.all([control, this.#watch(signal), this.#carryFrames(signal)]);
  }

  /** On a bridge, ports need nobody to forward them. */
  #directPorts(): Forward[] {
    const { direct } = this.#settings;
    if (direct === undefined) return [];
    return this.#listeners.map(({ port, address }) => {
      const about = { guestPort: port, guestAddress: address, hostAddress: direct, isPublished: false };
      return isOnCard(address) || address === direct
        ? { ...about, hostPort: port }
        : { ...about, note: "it listens where only the guest itself reaches it" };
    });
  }

  close(): Promise<void> {
    return this.#forwarder.close();
  }

  async #reload(): Promise<void> {
    const settings = await readNetworkSettings(this.#host.files, this.#paths.settings);
    if (!settings) return;
    this.#network.changeRules(settings.allow);
    await this.#forwarder.configure(settings);
  }

  /**
   * Over the guest's card where something listens on it, past its loopback else: the agent reaches that, at
   * a tenth of the speed.
   */
  async #connect(port: number, address: string | undefined): Promise<Connection> {
    const { direct } = this.#settings;
    if (address === undefined || isOnCard(address) || address === direct) {
      try {
        return await (direct === undefined
          ? this.#network.connect(port)
          : this.#host.network.connectTcp(direct, port));
      } catch (thrown) {
        // A firewall in the guest, or a listener for IPv6 only.
        this.#host.log("debug", "the guest's card gives no connection", { port, reason: reasonOf(thrown) });
      }
    }
    return await this.#agent.connect(port, dialable(address));
  }

  /** The VMM listens once it has started, and again after each end. */
  async #carryFrames(signal: AbortSignal): Promise<void> {
    const { sockets, clock } = this.#host;
    const sparing = new SparingLog(this.#host);
    if (this.#settings.frameSocketPath === undefined) return;
    while (!signal.aborted) {
      try {
        await this.#network.run(await sockets.connectUnix(this.#settings.frameSocketPath), signal);
      } catch (thrown) {
        const isAbsent = thrown instanceof BangerError &&
          ["not_found", "connection_failed"].includes(thrown.code);
        if (!isAbsent) sparing.tell("warn", "the guest's frames ended", { reason: reasonOf(thrown) });
      }
      await clock.sleep(FRAMES_AGAIN_MS, signal).catch(() => {}); // the loop's condition sees it
    }
  }

  /** The agent goes and comes with the guest: what was forwarded stays until there is news. */
  async #watch(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#host;
    while (!signal.aborted) {
      try {
        await this.#agent.watchPorts(({ listeners, truncated }) => {
          this.#isWatching = true;
          this.#truncated = truncated;
          this.#listeners = listeners;
          void this.#forwarder.update(listeners);
        }, signal);
      } catch (thrown) {
        if (this.#isWatching) log("debug", "the agent tells no ports", { reason: reasonOf(thrown) });
      }
      this.#isWatching = false;
      await clock.sleep(WATCH_AGAIN_MS, signal).catch(() => {}); // the loop's condition sees it
    }
  }
}

function isOnCard(address: string): boolean {
  return address === "0.0.0.0" || address === "::" || address === GUEST_CARD;
}

/** Where the agent dials for a listener on any address. */
function dialable(address: string | undefined): string {
  if (address === undefined || address === "0.0.0.0") return "127.0.0.1";
  return address === "::" ? "127.0.0.1" : address;
}
