import type { DnsStatusView, VmPortsView } from "../api/network_contract.ts";
import type { Services } from "../api/services.ts";
import { BangerError } from "../base/errors.ts";
import { describePlan } from "../net/bridge/plan.ts";
import { askControl, type NetworkStatus } from "../net/control.ts";
import { networkFiles, vmPaths } from "../store/paths.ts";
import { type Vm, vmAddress } from "../store/records.ts";
import { changeNetwork } from "../vm/network.ts";
import type { VmDeps } from "../vm/deps.ts";
import type { NamedBridge } from "./bridge_names.ts";
import type { VmService } from "../vm/service.ts";

interface Parts {
  readonly deps: VmDeps;
  readonly vms: VmService;
  readonly names: { status(): Promise<DnsStatusView> };
  readonly bridge: NamedBridge;
}

/** From its start on a guest has this long to tell what listens in it; half a second, mostly. */
const YOUNG_MS = 5000;
const ASK_AGAIN_MS = 50;

const NOTHING: NetworkStatus = { isWatching: false, forwards: [], truncated: false, refusals: [] };

/** The API's network service: what the relays of the machines tell, and what they are told. */
export function networkServices({ deps, vms, names, bridge }: Parts): Services["network"] {
  const ports = async (nameOrId: string) => {
    const vm = deps.store.vms.get(nameOrId);
    const status = await statusOnceTold(deps, vm);
    if (vm.spec.network !== "bridge" || !bridge.has(vm.id)) return await portsView(deps, vm, status);
    return await portsView(deps, vm, { ...status, refusals: await bridge.refusalsOf(vm.id, vmAddress(vm)) });
  };
  return {
    ports,
    async change(nameOrId, { publish, forward, allowNet }) {
      const name = await changeNetwork(deps, vms.queues, nameOrId, {
        ...(publish === undefined ? {} : { publish }),
        ...(forward === undefined ? {} : { forward }),
        ...(allowNet === undefined ? {} : { allowNet }),
      });
      return await ports(name);
    },
    dns: () => names.status(),
    bridge: async () => ({ guests: bridge.list(), plan: describePlan(await bridge.dryRun()) }),
  };
}

/** Who asks right after a start gets an answer, too. */
async function statusOnceTold(deps: VmDeps, vm: Vm): Promise<NetworkStatus> {
  const { clock } = deps.host;
  // By a clock that nobody sets: the other may go back.
  const youngMs = Math.min((vm.startedAtMs ?? 0) + YOUNG_MS - clock.now(), YOUNG_MS);
  const deadlineMs = clock.monotonicMs() + youngMs;
  for (;;) {
    const status = await statusOf(deps, vm);
    const isToCome = vm.state === "running" && vm.spec.network !== "none" && !status.isWatching;
    if (!isToCome || clock.monotonicMs() > deadlineMs) return status;
    await clock.sleep(ASK_AGAIN_MS);
  }
}

async function statusOf({ host, paths }: VmDeps, vm: Vm): Promise<NetworkStatus> {
  if (vm.state !== "running" || vm.spec.network === "none") return NOTHING;
  try {
    return await askControl(host, networkFiles(vmPaths(paths, vm.id).runtime).control, "status");
  } catch (thrown) {
    // A relay that is only just started, or started again.
    if (thrown instanceof BangerError && ["not_found", "connection_failed"].includes(thrown.code)) {
      return NOTHING;
    }
    throw thrown;
  }
}

async function portsView(deps: VmDeps, vm: Vm, status: NetworkStatus): Promise<VmPortsView> {
  const address = vmAddress(vm);
  const resolves = vm.state === "running" && await resolvesTo(deps, `${vm.name}.vm`, address);
  return {
    name: vm.name,
    state: vm.state,
    network: vm.spec.network,
    address,
    resolves,
    forward: vm.spec.network !== "none" && vm.spec.forward !== false,
    publish: vm.spec.publish ?? [],
    allow: vm.spec.network === "none" ? [] : [...vm.spec.allowNet ?? await deps.defaultAllowNet()],
    isWatching: status.isWatching,
    truncated: status.truncated,
    ports: status.forwards.map((forward) => {
      const shownHost = resolves && !forward.isPublished ? `${vm.name}.vm` : forward.hostAddress;
      const url = urlOf(shownHost, forward.hostPort, forward.guestPort);
      return { ...forward, ...(url === undefined ? {} : { url }) };
    }),
    denied: status.refusals.map(({ lastAtMs, ...refusal }) => ({
      ...refusal,
      lastAt: new Date(lastAtMs).toISOString(),
    })),
  };
}

/** Whether this host's programs find the address by the name (getaddrinfo). */
async function resolvesTo({ host }: VmDeps, name: string, address: string): Promise<boolean> {
  const { stdout } = await host.processes.run({ program: "getent", args: ["ahostsv4", name] });
  return stdout.split("\n").some((line) => line.startsWith(`${address} `));
}

/** What surely speaks no HTTP gets no link. */
const NO_HTTP = new Set([22, 25, 53, 111, 3306, 5432, 6379, 11211, 27017]);

function urlOf(host: string, hostPort: number | undefined, guestPort: number): string | undefined {
  if (hostPort === undefined || NO_HTTP.has(guestPort)) return undefined;
  const shown = host.includes(":") ? `[${host}]` : host === "0.0.0.0" ? "127.0.0.1" : host;
  if (guestPort === 443 || guestPort === 8443) {
    return `https://${shown}${hostPort === 443 ? "" : `:${hostPort}`}`;
  }
  return `http://${shown}${hostPort === 80 ? "" : `:${hostPort}`}`;
}
