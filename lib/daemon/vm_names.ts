import type { DnsStatusView } from "../api/network_contract.ts";
import type { Host } from "../base/host.ts";
import { answerQuery, type Names } from "../net/dns/authority.ts";
import { DnsServer } from "../net/dns/server.ts";
import { vmAddress } from "../store/records.ts";
import type { Store } from "../store/store.ts";

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

/** The daemon's name server for `.vm`; it runs until the signal fires. */
export function serveNames(
  host: Pick<Host, "network" | "clock" | "log">,
  store: Store,
  port: number,
  signal: AbortSignal,
): { status(): DnsStatusView; readonly running: Promise<void> } {
  const names = new VmNames(store);
  const server = new DnsServer(host, DNS_ADDRESS, port, (message) => answerQuery(message, names));
  return {
    status: () => ({ ...server.status(), records: names.list() }),
    running: server.run(signal),
  };
}
