import type { DnsStatusView } from "../api/network_contract.ts";
import type { Host } from "../base/host.ts";
import { answerQuery, type Names } from "../net/dns/authority.ts";
import type { NameRecord } from "../net/dns/host_setup.ts";
import { DnsServer } from "../net/dns/server.ts";
import { vmAddress } from "../store/records.ts";
import type { Store } from "../store/store.ts";
import { HostNames } from "./host_names.ts";

const DNS_ADDRESS = "127.0.0.1";

/** The names of running VMs as the database has them, read again only after it has changed. */
class VmNames implements Names {
  readonly #store: Store;
  #changes = -1;
  #byName = new Map<string, string>();
  #byAddress = new Map<string, string>();

  constructor(store: Store) {
    this.#store = store;
  }

  addressOf(label: string): string | undefined {
    this.#refresh();
    return this.#byName.get(label);
  }

  nameAt(address: string): string | undefined {
    this.#refresh();
    return this.#byAddress.get(address);
  }

  list(): { name: string; address: string }[] {
    this.#refresh();
    return [...this.#byName].map(([name, address]) => ({ name: `${name}.vm`, address }));
  }

  #refresh(): void {
    const changes = this.#store.changeCount();
    if (changes === this.#changes) return;
    this.#changes = changes;
    const named = this.#store.vms.list()
      .filter(({ state, spec }) => (state === "running" || state === "stopping") && spec.network !== "none")
      .map((vm) => [vm.name as string, vmAddress(vm)] as const);
    this.#byName = new Map(named);
    this.#byAddress = new Map(named.map(([name, address]) => [address, name]));
  }
}

/** What a hosts file holds: all VMs, running or not, since an address is a VM's own for its whole life. */
function hostRecords(store: Store): NameRecord[] {
  return store.vms.list()
    .filter(({ state, spec }) => state !== "removed" && state !== "removing" && spec.network !== "none")
    .map((vm) => ({ name: `${vm.name}.vm`, address: vmAddress(vm) }));
}

export interface NamesOptions {
  readonly port: number;
  readonly uid: number;
  /** The state directory. */
  readonly owner: string;
}

/** The daemon's name server for `.vm`, and how this host comes to ask it; both run until the signal fires. */
export function serveNames(
  host: Pick<Host, "network" | "files" | "processes" | "clock" | "log">,
  store: Store,
  { port, uid, owner }: NamesOptions,
  signal: AbortSignal,
): { status(): Promise<DnsStatusView>; readonly running: Promise<unknown> } {
  const names = new VmNames(store);
  const server = new DnsServer(host, DNS_ADDRESS, port, (message) => answerQuery(message, names));
  const onHost = new HostNames(host, {
    ...{ address: DNS_ADDRESS, port, uid, owner },
    isServing: () => server.status().isServing,
    records: () => hostRecords(store),
  });
  store.vms.onChange(() => onHost.changed());
  return {
    async status() {
      await onHost.refresh();
      const { holdsLink, linkProblem, followsHosts } = onHost;
      return {
        ...server.status(),
        ...(linkProblem === undefined ? {} : { linkProblem }),
        records: names.list(),
        ...{ owner, holdsLink, followsHosts, hostRecords: hostRecords(store) },
      };
    },
    running: Promise.all([server.run(signal), onHost.run(signal)]),
  };
}
