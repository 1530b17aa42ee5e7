import { BangerError, reasonOf } from "../base/errors.ts";
import type { Connection, Host } from "../base/host.ts";
import { eitherSignal } from "../base/signals.ts";
import { SparingLog } from "../base/sparing_log.ts";
import { AgentClient } from "../guest/client/agent_client.ts";
import { serveControl } from "../net/control.ts";
import { UserNetwork } from "../net/user/user_network.ts";
import { type Forward, Forwarder, type GuestListener } from "../net/forward/forwarder.ts";
import { type NetworkSettings, readNetworkSettings } from "../net/settings.ts";

const VMM_LOOK_MS = 2000;
const OFFER_TIMEOUT_MS = 10_000;
/** The guest's own address (lib/guest/config/config_tar.ts). */
const GUEST_CARD = "10.0.2.15";
const WATCH_AGAIN_MS = 500;
/** A guest that has just come up first answers whoever waits for the machine. */
const WATCH_AFTER_MS = 500;
const FRAMES_AGAIN_MS = 50;
const NAMESPACE_AGAIN_MS = 1000;

export interface NetworkRolePaths {
  readonly settings: string;
  readonly control: string;
  /** Where the card of a VMM in a namespace of its own is handed over. */
  readonly tap: string;
}

/**
 * Carries one VM's network until the signal fires: the second half of the relay, for machines that have one.
 * It outlives the daemon, so that neither a connection nor a port is cut by a restart of it.
 *
 * @param self the words that start this program, which enters the VMM's namespace where it has one of its own
 */
export async function runNetworkRole(
  host: Host,
  paths: NetworkRolePaths,
  self: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const settings = await readNetworkSettings(host.files, paths.settings);
  if (!settings) return;
  const role = new NetworkRole(host, settings, paths, self);
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
  readonly #self: readonly string[];
  #isWatching = false;
  #truncated = false;
  #listeners: readonly GuestListener[] = [];

  constructor(host: Host, settings: NetworkSettings, paths: NetworkRolePaths, self: readonly string[]) {
    this.#host = host;
    this.#self = self;
    this.#paths = paths;
    this.#settings = settings;
    this.#agent = new AgentClient(host, settings.agent);
    this.#network = new UserNetwork(host, settings.mac, settings.allow);
    this.#forwarder = new Forwarder(host, settings, (port, address) => this.#connect(port, address));
    void this.#forwarder.configure(settings);
  }

  async run(given: AbortSignal): Promise<void> {
    const ended = new AbortController();
    using either = eitherSignal(given, ended.signal);
    const { signal } = either;
    const control = serveControl(this.#host, this.#paths.control, {
      status: () => ({
        isWatching: this.#isWatching,
        forwards: [...this.#forwarder.list(), ...this.#directPorts()],
        truncated: this.#truncated,
        refusals: this.#network.refusals(),
      }),
      reload: () => this.#reload(),
    }, signal);
    const watching = this.#untilVmmEnds(signal).then(() => ended.abort());
    await Promise.all([control, watching, this.#watch(signal), this.#carryFrames(signal)]);
  }

  /** Or until the signal. QEMU is not looked at: the relay sees its connections end. */
  async #untilVmmEnds(signal: AbortSignal): Promise<void> {
    const { vmm } = this.#settings;
    const { clock, processes } = this.#host;
    if (vmm === undefined) {
      if (signal.aborted) return;
      return await new Promise((resolve) =>
        signal.addEventListener("abort", () => resolve(), { once: true })
      );
    }
    while (!signal.aborted && await processes.isAlive(vmm)) {
      await clock.sleep(VMM_LOOK_MS, signal).catch(() => {}); // the loop's condition sees it
    }
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
    const { frameSocketPath, namespace } = this.#settings;
    if (frameSocketPath === undefined && namespace === undefined) return;
    while (!signal.aborted) {
      try {
        const frames = frameSocketPath === undefined
          ? await this.#enterNamespace(signal)
          : await sockets.connectUnix(frameSocketPath);
        await this.#network.run(frames, signal);
      } catch (thrown) {
        const isAbsent = thrown instanceof BangerError &&
          ["not_found", "connection_failed"].includes(thrown.code);
        if (!isAbsent) sparing.tell("warn", "the guest's frames ended", { reason: reasonOf(thrown) });
      }
      await clock.sleep(namespace ? NAMESPACE_AGAIN_MS : FRAMES_AGAIN_MS, signal).catch(() => {}); // the loop's condition sees it
    }
  }

  /**
   * A process of ours enters the VMM's namespace, opens its card and hands it over; then it ends. This one stays in
   * the host's network, where its own sockets are.
   */
  async #enterNamespace(given: AbortSignal): Promise<Connection> {
    const { vmm, namespace } = this.#settings;
    if (!vmm || !namespace) throw new BangerError("internal", "Cannot find the VMM's namespace");
    const { network, processes, files } = this.#host;
    await files.remove(this.#paths.tap); // of a relay before
    const user = namespace.hasUserNamespace ? ["--user", "--preserve-credentials"] : [];
    const offer = ["--", ...this.#self, "offer-frames", namespace.card, this.#paths.tap];
    const failed = new AbortController();
    using either = eitherSignal(given, failed.signal);
    const { signal } = either;
    const ready = Promise.withResolvers<void>();
    const received = network.receiveFrames(this.#paths.tap, ready.resolve, signal);
    received.catch(ready.resolve); // told below
    await ready.promise;
    const args = ["--target", `${vmm.pid}`, ...user, "--net", ...offer];
    try {
      const { code, stderr } = await processes.run(
        { program: "nsenter", args },
        { timeoutMs: OFFER_TIMEOUT_MS, signal },
      );
      if (code !== 0) throw new BangerError("internal", `Cannot enter the VMM's namespace: ${stderr.trim()}`);
    } catch (thrown) {
      failed.abort(thrown);
    }
    const frames = await received;
    if (!given.aborted) return frames;
    frames.close();
    throw given.reason;
  }

  /** The agent goes and comes with the guest: what was forwarded stays until there is news. */
  async #watch(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#host;
    while (!signal.aborted) {
      try {
        await this.#agent.untilTaken(signal);
        await clock.sleep(WATCH_AFTER_MS, signal);
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
