import { BangerError } from "../base/errors.ts";
import type { Host } from "../base/host.ts";
import { parseNetRule, parsePublish } from "../base/net_rules.ts";
import type { VmName } from "../base/names.ts";
import type { BridgeGuest } from "../net/bridge/bridge_network.ts";
import { askControl } from "../net/control.ts";
import { writeNetworkSettings } from "../net/settings.ts";
import { networkFiles, vmPaths } from "../store/paths.ts";
import { type Vm, vmAddress, type VmSpec, vsockCid } from "../store/records.ts";
import { type MachineNetwork, type MachineRecord, runtimeSockets } from "../vmm/driver.ts";
import type { VmDeps } from "./deps.ts";
import { parseMachineState } from "./machine_state.ts";
import type { VmQueues } from "./queue.ts";

const RELOAD_TIMEOUT_MS = 5000;
const RELOAD_AGAIN_MS = 50;

/** Locally administered (the second-lowest bit of the first byte), and one for each VM. */
export function macAddress(number: number): string {
  const hex = (value: number) => value.toString(16).padStart(2, "0");
  return `52:54:00:42:${hex(number >> 8)}:${hex(number & 255)}`;
}

/** What a VM's creation says of its network, as its record keeps it. */
export function networkSpec(
  options: {
    readonly publish?: readonly string[];
    readonly forward?: boolean;
    readonly allowNet?: readonly string[];
  },
): Pick<VmSpec, "publish" | "forward" | "allowNet"> {
  return {
    ...(options.publish?.length ? { publish: [...options.publish] } : {}),
    ...(options.forward === false ? { forward: false } : {}),
    ...(options.allowNet ? { allowNet: [...options.allowNet] } : {}),
  };
}

/** As VMMs call it. */
export function networkMode({ network }: Pick<VmSpec, "network">): MachineNetwork["mode"] {
  return network === "bridge" ? "tap" : network;
}

/**
 * Tells the relay what it is to carry. A VM without a network has no such file.
 *
 * @param machine where it runs already: Firecracker's relay comes after it, QEMU's before
 */
export async function writeSettings(deps: VmDeps, vm: Vm, machine?: MachineRecord): Promise<void> {
  const { host, paths } = deps;
  const { runtime } = vmPaths(paths, vm.id);
  if (vm.spec.network === "none") return;
  const isFirecracker = machine?.driver === "firecracker";
  await writeNetworkSettings(host.files, networkFiles(runtime).settings, {
    vmName: vm.name,
    address: vmAddress(vm),
    mac: macAddress(vm.number),
    forward: vm.spec.network === "user" && vm.spec.forward !== false,
    publish: [...vm.spec.publish ?? []],
    allow: [...vm.spec.allowNet ?? await deps.defaultAllowNet()],
    agent: isFirecracker
      ? machine.endpoint
      : vm.spec.transport === "vhost-vsock"
      ? { kind: "vsock", cid: vsockCid(vm.number) }
      : { kind: "hybrid", path: runtimeSockets(runtime).agent },
    ...(vm.spec.network === "bridge" ? { direct: vmAddress(vm) } : {}),
    ...(vm.spec.network === "user" && !isFirecracker
      ? { frameSocketPath: runtimeSockets(runtime).frames }
      : {}),
    ...(isFirecracker ? { vmm: machine.process } : {}),
    ...(machine?.namespace ? { namespace: machine.namespace } : {}),
  });
}

/** As the bridge knows it. */
async function bridgeGuest(deps: VmDeps, vm: Vm): Promise<BridgeGuest> {
  const rules = (vm.spec.allowNet ?? await deps.defaultAllowNet()).map(parseNetRule);
  return { id: vm.id, address: vmAddress(vm), mac: macAddress(vm.number), allow: rules };
}

/** Gives a VM of bridge mode its tap, and writes down which. @returns undefined in the other modes */
export async function attachNetwork(deps: VmDeps, vm: Vm): Promise<string | undefined> {
  if (vm.spec.network !== "bridge") return undefined;
  const tap = await deps.bridge.attach(await bridgeGuest(deps, vm));
  deps.store.vms.update(vm.id, { record: { tap } });
  return tap;
}

/** Takes it back. Call once the machine is gone. Idempotent. */
export async function detachNetwork(
  { bridge }: Pick<VmDeps, "bridge">,
  vm: Pick<Vm, "id" | "spec">,
): Promise<void> {
  if (vm.spec.network === "bridge") await bridge.detach(vm.id);
}

/** After a start of the daemon: machines that run keep their taps, and what nobody has is taken down. */
export async function recoverBridge(deps: VmDeps, isRunning: (vm: Vm) => boolean): Promise<void> {
  for (const vm of deps.store.vms.list()) {
    if (vm.spec.network !== "bridge" || vm.tap === undefined || !isRunning(vm)) continue;
    deps.bridge.adopt(await bridgeGuest(deps, vm), vm.tap);
  }
  await deps.bridge.recover();
}

/**
 * Refuses a start whose published ports are not to be had. The relay takes them a moment later; one that is
 * lost in between shows in `vm ports`.
 *
 * @throws {BangerError} `in_use`, `permission_denied`
 */
export async function assertPublishable({ host }: Pick<VmDeps, "host">, vm: Vm): Promise<void> {
  for (const text of vm.spec.publish ?? []) {
    const { hostAddress, hostPort } = parsePublish(text);
    try {
      (await host.network.listenTcp(hostAddress, hostPort)).close();
    } catch (thrown) {
      if (!(thrown instanceof BangerError)) throw thrown;
      throw new BangerError(
        thrown.code === "already_exists" ? "in_use" : thrown.code,
        `Cannot publish port ${hostPort} for VM ${vm.name}: ${thrown.message.replace(/^Cannot .*?: /, "")}`,
        `Free it, or publish another: banger vm network ${vm.name} --publish PORT:GUEST`,
        { cause: thrown },
      );
    }
  }
}

export type NetworkChange = Partial<Pick<VmSpec, "publish" | "forward">> & {
  /** Null: what the configuration says. */
  readonly allowNet?: readonly string[] | null;
};

/** Changes a VM's network settings, at once where it runs. @returns its name */
export async function changeNetwork(
  deps: VmDeps,
  queues: VmQueues,
  nameOrId: string,
  change: NetworkChange,
): Promise<VmName> {
  const { store, host, paths } = deps;
  const { id, name } = store.vms.get(nameOrId);
  await queues.run(id, async () => {
    const vm = store.vms.get(id);
    if (vm.spec.network === "none") {
      throw new BangerError(
        "wrong_state",
        `Cannot change the network of VM ${name}: it has none`,
        "Make the VM without --network none",
      );
    }
    const { allowNet: _old, ...rest } = vm.spec;
    const allowNet = change.allowNet === undefined ? vm.spec.allowNet : change.allowNet ?? undefined;
    const spec: VmSpec = {
      ...rest,
      ...(change.publish ? { publish: change.publish } : {}),
      ...(change.forward === undefined ? {} : { forward: change.forward }),
      ...(allowNet ? { allowNet: [...allowNet] } : {}),
    };
    const changed = store.vms.update(id, { record: { spec } });
    if (vm.state !== "running") return;
    await writeSettings(deps, changed, parseMachineState(changed)?.record);
    if (spec.network === "bridge") await deps.bridge.attach(await bridgeGuest(deps, changed));
    await reloadRelay(host, networkFiles(vmPaths(paths, id).runtime).control);
  });
  return name;
}

/**
 * Makes the relay read its settings again. One that was started just now, or again, does not listen yet, and may have
 * read those before.
 */
async function reloadRelay(host: Pick<Host, "sockets" | "clock">, control: string): Promise<void> {
  const deadlineMs = host.clock.monotonicMs() + RELOAD_TIMEOUT_MS;
  for (;;) {
    try {
      await askControl(host, control, "reload");
      return;
    } catch (thrown) {
      const isYoung = thrown instanceof BangerError &&
        (thrown.code === "not_found" || thrown.code === "connection_failed");
      if (!isYoung || host.clock.monotonicMs() > deadlineMs) throw thrown;
    }
    await host.clock.sleep(RELOAD_AGAIN_MS);
  }
}
