import { BangerError, reasonOf } from "../../base/errors.ts";
import type { CommandLine, ProcessIdentity } from "../../base/host.ts";
import { chooseAcceleration } from "../acceleration.ts";
import type { Acceleration, Machine, MachineNamespace, MachineSpec, VmmDriver } from "../driver.ts";
import { runtimeSockets } from "../driver.ts";
import { assertSocketPathFits } from "../helpers.ts";
import { adoptMachine, endedAtOnce, startProcess, undoLaunch, waitFor } from "../launching.ts";
import { FirecrackerClient, FirecrackerFault } from "./client.ts";
import { consolePathOf, firecrackerConfiguration } from "./configuration.ts";
import { type FirecrackerHost, FirecrackerMachine } from "./machine.ts";
import { buildJail, type JailPlan, notingItself, planJail, removeJail } from "./jail.ts";
import { inNamespace, NAMESPACE_CARD, namespacePrograms } from "./namespace.ts";
import { requireSupportedVersion } from "./version.ts";

export const FIRECRACKER_PROGRAM = "firecracker";
/** Firecracker's own rule for `--id`. */
const INSTANCE_ID = /^[A-Za-z0-9-]{1,64}$/;

export interface FirecrackerDriverOptions {
  /** Default: `firecracker` on PATH. */
  readonly program?: string;
  /** Default: what `chooseAcceleration` finds at each launch; only `kvm` will do. */
  readonly acceleration?: Acceleration;
  /** Where a machine's metrics are written, one JSON object a minute. Default: nowhere. */
  readonly metricsPath?: (spec: MachineSpec) => string;
  /** Whether this process may make a network namespace without a user namespace around it. Default: no. */
  readonly isRoot?: boolean;
  /** Confines each machine; needs root. Default: none. */
  readonly jailer?: {
    readonly program: string;
    /** Of one machine alone, on the filesystem of its disks. */
    readonly baseDirectory: (spec: MachineSpec) => string;
    readonly cgroupRoot?: string;
  };
}

/** Firecracker, which needs KVM, raw disks, and a namespace of its own for user-mode networking. */
export function firecrackerDriver(host: FirecrackerHost, options: FirecrackerDriverOptions = {}): VmmDriver {
  return {
    name: "firecracker",
    launch: (spec, signal) => launch(host, options, spec, signal ?? new AbortController().signal),
    adopt: (record) => adoptMachine(new FirecrackerMachine(host, record)),
  };
}

async function launch(
  host: FirecrackerHost,
  options: FirecrackerDriverOptions,
  spec: MachineSpec,
  signal: AbortSignal,
): Promise<Machine> {
  signal.throwIfAborted();
  const acceleration = options.acceleration ?? await chooseAcceleration(host);
  requireKvm(acceleration);
  const program = await findFirecracker(host, options.program ?? FIRECRACKER_PROGRAM);
  const namespace = spec.network.mode === "user"
    ? { card: NAMESPACE_CARD, hasUserNamespace: options.isRoot !== true }
    : undefined;
  const place = placeOf(spec, options, program);
  const { api, agent } = place.sockets;
  for (const path of [api, agent]) assertSocketPathFits(path);
  const started: ProcessIdentity[] = [];
  try {
    for (const path of [spec.logPath, consolePathOf(spec), options.metricsPath?.(spec)]) {
      if (path !== undefined) await createFile(host, path);
    }
    if (place.plan) await buildJail(host, place.plan);
    const process = await startFirecracker(host, spec, { ...place, namespace }, signal, started);
    await configureAndStart(host, place, spec, signal);
    return new FirecrackerMachine(host, {
      driver: "firecracker",
      machineId: spec.id,
      process,
      helpers: [],
      controlSocket: api,
      runtimeDirectory: spec.runtimeDirectory,
      endpoint: { kind: "hybrid", path: agent },
      acceleration,
      ...(namespace ? { namespace } : {}),
      ...(place.plan ? { jail: place.plan.jail } : {}),
    });
  } catch (failure) {
    await undoLaunch(host, started, [api, agent]);
    if (place.plan) await undoJail(host, place.plan);
    throw failure;
  }
}

/** How Firecracker is started, and what it sees where: in a jail every path is another. */
interface Place {
  readonly plan?: JailPlan;
  readonly command: CommandLine;
  readonly spec: MachineSpec;
  readonly metricsPath?: string | undefined;
  /** As this host sees them. */
  readonly sockets: { readonly api: string; readonly agent: string };
}

function placeOf(spec: MachineSpec, options: FirecrackerDriverOptions, program: string): Place {
  const metricsPath = options.metricsPath?.(spec);
  requireInstanceId(spec.id);
  if (!options.jailer) {
    const sockets = runtimeSockets(spec.runtimeDirectory);
    return {
      command: { program, args: ["--api-sock", sockets.api, "--id", spec.id] },
      spec,
      metricsPath,
      sockets,
    };
  }
  const { program: jailer, baseDirectory, cgroupRoot } = options.jailer;
  const jailing = { jailer, firecracker: program, baseDirectory: baseDirectory(spec) };
  const plan = planJail(spec, cgroupRoot === undefined ? jailing : { ...jailing, cgroupRoot }, metricsPath);
  const { sockets, spec: inside, metricsPath: metricsInside } = plan;
  return {
    plan,
    command: notingItself(plan.command, plan.jail),
    spec: inside,
    metricsPath: metricsInside,
    sockets,
  };
}

/** Its own failure is logged: the launch's is the one to tell, and the next launch tries again. */
async function undoJail(host: FirecrackerHost, { jail }: JailPlan): Promise<void> {
  try {
    await removeJail(host, jail);
  } catch (thrown) {
    host.log("error", "cannot remove a jail", { jail: jail.directory, reason: reasonOf(thrown) });
  }
}

function requireInstanceId(id: string): void {
  if (INSTANCE_ID.test(id)) return;
  throw new BangerError("invalid_argument", `Cannot use ${JSON.stringify(id)} as a Firecracker id`);
}

function requireKvm(acceleration: Acceleration): void {
  if (acceleration.kind === "kvm") return;
  throw new BangerError(
    "host_unsupported",
    `Cannot use Firecracker: it needs KVM, and ${acceleration.why}`,
    "Choose QEMU: --vmm qemu",
  );
}

async function findFirecracker(host: FirecrackerHost, program: string): Promise<string> {
  const path = await host.processes.which(program);
  if (path) return path;
  throw new BangerError(
    "missing_tool",
    `Cannot start a machine: ${program} is not installed`,
    "Install Firecracker from its releases, name its path in config.toml, or choose QEMU: --vmm qemu",
  );
}

async function startFirecracker(
  host: FirecrackerHost,
  spec: MachineSpec,
  { command: bare, sockets, plan, namespace }: Place & { namespace: MachineNamespace | undefined },
  signal: AbortSignal,
  started: ProcessIdentity[],
): Promise<ProcessIdentity> {
  const { api, agent } = sockets;
  // Firecracker makes both and refuses those that exist.
  for (const path of [api, agent]) {
    if (await host.sockets.removeStaleSocket(path)) continue;
    throw new BangerError("in_use", `Cannot start machine ${spec.id}: somebody already listens on ${path}`);
  }
  const logOffset = (await host.files.stat(spec.logPath))?.sizeBytes ?? 0;
  const command = namespace
    ? inNamespace(bare, { ...namespace, programs: await namespacePrograms(host), userId: plan?.userId })
    : bare;
  const process = await startProcess(host, "Firecracker", command, spec, logOffset);
  started.push(process);
  const client = new FirecrackerClient(host, api, signal);
  await waitFor(host, signal, `Firecracker does not answer on ${api}`, async () => {
    try {
      await client.instance();
      return true;
    } catch (thrown) {
      signal.throwIfAborted();
      if (!(await host.processes.isAlive(process))) {
        throw await endedAtOnce(host, "Firecracker", spec, logOffset);
      }
      const isYoung = thrown instanceof BangerError &&
        (thrown.code === "not_found" || thrown.code === "connection_failed");
      if (!isYoung) throw thrown;
      return false;
    }
  });
  // What made its namespace had this process before.
  return await host.processes.identify(process.pid) ?? process;
}

/** Everything before the start is refused after it, so the order is: logger, console, the rest, start. */
async function configureAndStart(
  host: FirecrackerHost,
  { spec: inside, metricsPath, sockets }: Place,
  spec: MachineSpec,
  signal: AbortSignal,
): Promise<void> {
  const client = new FirecrackerClient(host, sockets.api, signal);
  try {
    const version = requireSupportedVersion(await client.version());
    const configuration = firecrackerConfiguration(inside, version);
    await client.putLogger({ log_path: inside.logPath, level: "Warning", show_level: true });
    if (metricsPath !== undefined) await client.putMetrics(metricsPath);
    await client.putSerial(configuration.serial);
    await client.putMachineConfiguration(configuration.machine);
    await client.putBootSource(configuration.bootSource);
    for (const drive of configuration.drives) await client.putDrive(drive);
    if (configuration.network) await client.putNetworkInterface(configuration.network);
    await client.putVsock(configuration.vsock);
    await client.putEntropy();
    await client.putBalloon(configuration.balloon);
    signal.throwIfAborted();
    await client.act("InstanceStart");
  } catch (thrown) {
    if (!(thrown instanceof FirecrackerFault)) throw thrown;
    throw new BangerError(
      "boot_failed",
      `Cannot start machine ${spec.id}: ${reasonOf(thrown)}`,
      `See ${spec.logPath}`,
      { cause: thrown },
    );
  }
}

/** Firecracker opens its console and its metrics for writing, and does not make them. */
async function createFile({ files }: FirecrackerHost, path: string): Promise<void> {
  (await files.open(path, { write: true, create: true, mode: 0o600 })).close();
}
