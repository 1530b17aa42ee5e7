import { BangerError } from "../base/errors.ts";
import type { Kernel } from "../kernel/manifest.ts";
import { vmPaths } from "../store/paths.ts";
import { type Vm, vsockCid } from "../store/records.ts";
import type { AgentTransport, Drive, DriverName, MachineNetwork, MachineSpec } from "../vmm/driver.ts";
import type { VmDeps } from "./deps.ts";
import { macAddress } from "./network.ts";

/**
 * A VM as its VMM gets it.
 *
 * @throws {BangerError} `missing_tool`
 */
export function machineSpec(
  deps: VmDeps,
  vm: Vm,
  { kernel, root, driver, tap }: { kernel: Kernel; root: Drive; driver: DriverName; tap?: string },
): MachineSpec {
  const files = vmPaths(deps.paths, vm.id);
  return {
    id: vm.id,
    runtimeDirectory: files.runtime,
    cpus: vm.spec.cpus,
    memoryMib: vm.spec.memoryMib,
    kernel: {
      vmlinuxPath: kernel.vmlinuxPath,
      initramfsPath: kernel.initramfsPath,
      ...(kernel.timerHz === undefined ? {} : { timerHz: kernel.timerHz }),
    },
    drives: [
      root,
      { id: "work", path: files.workDisk, format: "raw", readOnly: false },
      { id: "config", path: files.configDisk, format: "raw", readOnly: true },
      { id: "modules", path: kernel.modulesDiskPath, format: "raw", readOnly: true },
    ],
    network: machineNetwork(vm, tap),
    transport: agentTransport(deps, vm, driver),
    logPath: files.machineLog,
    consolePath: files.consoleLog,
  };
}

function machineNetwork({ spec, number }: Vm, tapName: string | undefined): MachineNetwork {
  const mac = macAddress(number);
  if (spec.network === "user") return { mode: "user", mac };
  return tapName === undefined ? { mode: "none" } : { mode: "tap", mac, tapName };
}

function agentTransport({ vhostDeviceVsock }: VmDeps, vm: Vm, driver: DriverName): AgentTransport {
  const cid = vsockCid(vm.number);
  if (driver === "firecracker") return { kind: "firecracker-vsock", cid };
  if (vm.spec.transport === "virtio-serial") return { kind: "virtio-serial" };
  if (vm.spec.transport === "vhost-vsock") return { kind: "vhost-vsock", cid };
  if (vhostDeviceVsock) return { kind: "vhost-device-vsock", cid, program: vhostDeviceVsock };
  throw new BangerError(
    "missing_tool",
    `Cannot start VM ${vm.name}: its transport is vhost-device-vsock, and no such program is configured`,
    "Set BANGER_VHOST_DEVICE_VSOCK to its path, then restart the daemon: banger daemon stop",
  );
}
