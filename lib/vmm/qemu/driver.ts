import { ARCHITECTURES } from "../../base/architecture.ts";
import { BangerError } from "../../base/errors.ts";
import type { ProcessIdentity } from "../../base/host.ts";
import { chooseAcceleration } from "../acceleration.ts";
import { readCpuInfo, timestampCounterKhz } from "../cpu_info.ts";
import type { Acceleration, AgentEndpoint, Machine, MachineSpec, VmmDriver } from "../driver.ts";
import { runtimeSockets } from "../driver.ts";
import { assertGuestCid, assertSocketPathFits } from "../helpers.ts";
import { adoptMachine, endedAtOnce, startProcess, undoLaunch, waitFor } from "../launching.ts";
import { qemuArguments } from "./command_line.ts";
import { type QemuHost, QemuMachine } from "./machine.ts";
import { runQmpCommands } from "./qmp.ts";

const QMP_ATTEMPT_TIMEOUT_MS = 10_000;

export interface QemuDriverOptions {
  /** Default: that of the host's architecture, on PATH. */
  readonly program?: string;
  /** Default: what `chooseAcceleration` finds at each launch. */
  readonly acceleration?: Acceleration;
}

/** QEMU's smallest machine (`microvm`, `virt`), with KVM or software emulation. */
export function qemuDriver(host: QemuHost, options: QemuDriverOptions = {}): VmmDriver {
  return {
    name: "qemu",
    launch: (spec, signal) => launch(host, options, spec, signal ?? new AbortController().signal),
    adopt: (record) => adoptMachine(new QemuMachine(host, record)),
  };
}

async function launch(
  host: QemuHost,
  options: QemuDriverOptions,
  spec: MachineSpec,
  signal: AbortSignal,
): Promise<Machine> {
  signal.throwIfAborted();
  for (const path of Object.values(runtimeSockets(spec.runtimeDirectory))) assertSocketPathFits(path);
  if ("cid" in spec.transport) assertGuestCid(spec.transport.cid);
  const program = await findQemu(host, options.program);
  const acceleration = options.acceleration ?? await chooseAcceleration(host);
  const sockets = runtimeSockets(spec.runtimeDirectory);
  const started: ProcessIdentity[] = [];
  try {
    const helpers = await startHelpers(host, spec, started, signal);
    const logOffset = (await host.files.stat(spec.logPath))?.sizeBytes ?? 0;
    const process = await startQemu(host, spec, program, acceleration, logOffset);
    started.push(process);
    await waitForQmp(host, spec, process, logOffset, signal);
    return new QemuMachine(host, {
      driver: "qemu",
      machineId: spec.id,
      process,
      helpers,
      controlSocket: sockets.qmp,
      runtimeDirectory: spec.runtimeDirectory,
      endpoint: endpointOf(spec),
      acceleration,
    });
  } catch (failure) {
    await undoLaunch(host, started, socketsOf(spec));
    throw failure;
  }
}

/** @throws {BangerError} `missing_tool` */
export async function findQemu(
  { processes }: Pick<QemuHost, "processes">,
  program?: string,
): Promise<string> {
  const { qemu } = ARCHITECTURES[processes.architecture];
  const name = program ?? qemu.program;
  const path = await processes.which(name);
  if (path) return path;
  throw new BangerError(
    "missing_tool",
    `Cannot start a machine: ${name} is not installed`,
    `Install QEMU: apt-get install ${qemu.package} (Debian, Ubuntu), or your distribution's package`,
  );
}

function endpointOf(spec: MachineSpec): AgentEndpoint {
  if (spec.transport.kind === "vhost-vsock") return { kind: "vsock", cid: spec.transport.cid };
  return { kind: "hybrid", path: runtimeSockets(spec.runtimeDirectory).agent };
}

/** The socket files that QEMU and its helper make. */
function socketsOf(spec: MachineSpec): string[] {
  const { qmp, vhostUser, agent } = runtimeSockets(spec.runtimeDirectory);
  return spec.transport.kind === "vhost-device-vsock" ? [qmp, vhostUser, agent] : [qmp];
}

/** @param started gets each process as soon as it runs, for the undo */
async function startHelpers(
  host: QemuHost,
  spec: MachineSpec,
  started: ProcessIdentity[],
  signal: AbortSignal,
): Promise<ProcessIdentity[]> {
  if (spec.transport.kind !== "vhost-device-vsock") return [];
  const { vhostUser, agent } = runtimeSockets(spec.runtimeDirectory);
  const { cid, program } = spec.transport;
  for (const path of [vhostUser, agent]) {
    if (/[,=]/.test(path)) {
      throw new BangerError(
        "host_unsupported",
        `Cannot give ${path} to vhost-device-vsock: it has "," or "="`,
      );
    }
    await host.sockets.removeStaleSocket(path);
  }
  const vm = `guest-cid=${cid},socket=${vhostUser},uds-path=${agent}`;
  const process = await startProcess(host, "vhost-device-vsock", { program, args: ["--vm", vm] }, spec, 0);
  started.push(process);
  await waitFor(host, signal, `vhost-device-vsock does not listen on ${vhostUser}`, async () => {
    if (!(await host.processes.isAlive(process))) {
      throw await endedAtOnce(host, "vhost-device-vsock", spec, 0);
    }
    return (await host.files.stat(vhostUser)) !== undefined;
  });
  return [process];
}

async function startQemu(
  host: QemuHost,
  spec: MachineSpec,
  program: string,
  acceleration: Acceleration,
  logOffset: number,
): Promise<ProcessIdentity> {
  const { qmp } = runtimeSockets(spec.runtimeDirectory);
  if (!(await host.sockets.removeStaleSocket(qmp))) {
    throw new BangerError("in_use", `Cannot start machine ${spec.id}: a QEMU already listens on ${qmp}`);
  }
  const khz = timestampCounterKhz(await readCpuInfo(host));
  const args = qemuArguments(spec, {
    architecture: host.processes.architecture,
    acceleration: acceleration.kind,
    ...(khz === undefined ? {} : { timestampCounterKhz: khz }),
  });
  return await startProcess(host, "QEMU", { program, args }, spec, logOffset);
}

async function waitForQmp(
  host: QemuHost,
  spec: MachineSpec,
  process: ProcessIdentity,
  logOffset: number,
  signal: AbortSignal,
): Promise<void> {
  const { qmp } = runtimeSockets(spec.runtimeDirectory);
  await waitFor(host, signal, `QEMU does not answer on ${qmp}`, async () => {
    try {
      await runQmpCommands(host, qmp, [], { timeoutMs: QMP_ATTEMPT_TIMEOUT_MS, signal });
      return true;
    } catch (thrown) {
      signal.throwIfAborted();
      if (!(await host.processes.isAlive(process))) throw await endedAtOnce(host, "QEMU", spec, logOffset);
      const isYoung = thrown instanceof BangerError &&
        (thrown.code === "not_found" || thrown.code === "connection_failed");
      if (!isYoung) throw thrown;
      return false;
    }
  });
}
