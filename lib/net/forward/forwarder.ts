/**
 * Ports of the guest on the host: what listens in the guest appears at the same port of the VM's loopback
 * address, and published ports stay where the user put them. What the guest reports chooses ports only,
 * never an address, and never more of them than `MAX_FORWARDS`.
 */
import { BangerError, reasonOf } from "../../base/errors.ts";
import type { Connection, Log } from "../../base/host.ts";
import { formatPublish, type PublishedPort } from "../../base/net_rules.ts";
import type { Network, TcpListener } from "../../base/network.ts";
import { pumpBoth } from "../pump.ts";

/**
 * Each is a socket of ours: 10,000 listeners in a guest must not use up what the process may open.
 * Exported for tests.
 */
export const MAX_FORWARDS = 256;
const MAX_CONNECTIONS = 1024;
/** Where ports below 1024 need root, 80 goes to 8080 and 443 to 8443. */
const PRIVILEGED_SHIFT = 8000;

export interface GuestListener {
  readonly port: number;
  readonly address: string;
}

/** One port as it is seen from the host. */
export interface Forward {
  readonly guestPort: number;
  /** In the guest; absent for published ports, which are there before anything listens. */
  readonly guestAddress?: string;
  readonly hostAddress: string;
  /** Absent where it could not be opened: the note says why. */
  readonly hostPort?: number;
  readonly isPublished: boolean;
  readonly note?: string;
}

export interface ForwarderOptions {
  /** The VM's own, in 127.42.0.0/16. */
  readonly address: string;
  /** Whether what listens in the guest is forwarded without being asked for. */
  readonly forward: boolean;
  readonly publish: readonly PublishedPort[];
}

interface Open {
  readonly forward: Forward;
  readonly listener?: TcpListener;
}

type ForwarderHost = { readonly network: Pick<Network, "listenTcp">; readonly log: Log };

/** @throws what connecting to the guest's port throws */
export type ConnectGuest = (port: number, address: string | undefined) => Promise<Connection>;

export class Forwarder {
  readonly #host: ForwarderHost;
  readonly #connectGuest: ConnectGuest;
  readonly #automatic = new Map<number, Open>();
  readonly #published = new Map<string, Open>();
  readonly #addresses = new Map<number, string>();
  #options: ForwarderOptions;
  #listeners: readonly GuestListener[] = [];
  #changing: Promise<void> = Promise.resolve();
  #connections = 0;
  #isClosed = false;

  constructor(host: ForwarderHost, options: ForwarderOptions, connectGuest: ConnectGuest) {
    this.#host = host;
    this.#options = options;
    this.#connectGuest = connectGuest;
  }

  /** Takes other options; what is in both stays open. */
  configure(options: ForwarderOptions): Promise<void> {
    this.#options = options;
    return this.#change();
  }

  /** What listens in the guest now. */
  update(listeners: readonly GuestListener[]): Promise<void> {
    this.#listeners = listeners;
    this.#addresses.clear();
    for (const { port, address } of listeners) this.#addresses.set(port, address);
    return this.#change();
  }

  /** Published ones first, then by guest port. */
  list(): Forward[] {
    const automatic = [...this.#automatic.values()].map(({ forward }) => forward);
    return [
      ...[...this.#published.values()].map(({ forward }) => forward),
      ...automatic.sort((a, b) => a.guestPort - b.guestPort),
    ];
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#change();
  }

  /** One change after the other, each from what is wanted then: a flood of reports costs one of them. */
  #change(): Promise<void> {
    this.#changing = this.#changing.then(() => this.#apply()).catch((thrown) => {
      this.#host.log("error", "cannot change forwards", { reason: reasonOf(thrown) });
    });
    return this.#changing;
  }

  async #apply(): Promise<void> {
    const { publish, forward } = this.#isClosed ? { publish: [], forward: false } : this.#options;
    const published = new Map(publish.map((port) => [formatPublish(port), port]));
    closeMissing(this.#published, published);
    for (const [key, port] of published) {
      if (!this.#published.has(key)) this.#published.set(key, await this.#openPublished(port));
    }
    const wanted = new Map((forward ? this.#listeners : []).slice(0, MAX_FORWARDS).map((l) => [l.port, l]));
    closeMissing(this.#automatic, wanted);
    for (const [port, listener] of wanted) {
      const known = this.#automatic.get(port);
      if (!known) this.#automatic.set(port, await this.#openAutomatic(listener));
      else if (known.forward.guestAddress !== listener.address) {
        this.#automatic.set(port, {
          ...known,
          forward: { ...known.forward, guestAddress: listener.address },
        });
      }
    }
  }

  async #openPublished({ hostAddress, hostPort, guestPort }: PublishedPort): Promise<Open> {
    const about = { guestPort, hostAddress, isPublished: true };
    try {
      const listener = await this.#listen(hostAddress, hostPort, guestPort);
      return { listener, forward: { ...about, hostPort: listener.port } };
    } catch (thrown) {
      this.#host.log("warn", "cannot publish a port", { hostAddress, hostPort, reason: reasonOf(thrown) });
      return { forward: { ...about, note: reasonOf(thrown) } };
    }
  }

  async #openAutomatic({ port, address }: GuestListener): Promise<Open> {
    const hostAddress = this.#options.address;
    const about = { guestPort: port, guestAddress: address, hostAddress, isPublished: false };
    let why = "";
    for (const hostPort of candidates(port)) {
      try {
        const listener = await this.#listen(hostAddress, hostPort, port);
        const note = hostPort === port ? {} : { note: `${why}, so it is at ${listener.port}` };
        return { listener, forward: { ...about, hostPort: listener.port, ...note } };
      } catch (thrown) {
        if (!(thrown instanceof BangerError)) throw thrown;
        if (thrown.code === "permission_denied" && hostPort === port) why = `port ${port} needs root here`;
        else if (thrown.code === "already_exists") {
          why ||= `port ${port} of ${hostAddress} is taken by another program`;
        } else return { forward: { ...about, note: thrown.message } };
      }
    }
    return { forward: { ...about, note: why } };
  }

  async #listen(hostAddress: string, hostPort: number, guestPort: number): Promise<TcpListener> {
    const listener = await this.#host.network.listenTcp(hostAddress, hostPort);
    void this.#serve(listener, guestPort);
    return listener;
  }

  async #serve(listener: TcpListener, guestPort: number): Promise<void> {
    for await (const connection of listener) {
      if (this.#connections >= MAX_CONNECTIONS) connection.close();
      else void this.#carry(connection, guestPort);
    }
  }

  async #carry(client: Connection, guestPort: number): Promise<void> {
    this.#connections++;
    try {
      const guest = await this.#connectGuest(guestPort, this.#addresses.get(guestPort));
      await pumpBoth(client, guest);
    } catch (thrown) {
      // The client sees its connection end, as it would if it had connected to the guest itself.
      this.#host.log("debug", "a forwarded connection ended", { guestPort, reason: reasonOf(thrown) });
    } finally {
      client.close();
      this.#connections--;
    }
  }
}

function closeMissing<Key>(open: Map<Key, Open>, wanted: ReadonlyMap<Key, unknown>): void {
  for (const [key, { listener }] of open) {
    if (wanted.has(key)) continue;
    listener?.close();
    open.delete(key);
  }
}

/** Host ports to try for a guest's, in this order; 0 is any. */
function candidates(port: number): number[] {
  return port < 1024 ? [port, port + PRIVILEGED_SHIFT, 0] : [port, 0];
}
