import { dirname } from "node:path";
import { Operations } from "../api/operations.ts";
import { routes } from "../api/routes.ts";
import { buildId, type BuildStamp } from "../base/build.ts";
import { BangerError, reasonOf } from "../base/errors.ts";
import type { Host, Progress } from "../base/host.ts";
import type { HttpClient } from "../base/http.ts";
import { parseKernelName } from "../base/names.ts";
import { preparePrivateDirectory } from "../base/private_directory.ts";
import { EPOCH } from "../base/tree.ts";
import { TRASH_KEEP_MS } from "../config/effective.ts";
import { readConfig } from "../config/read.ts";
import { FilesystemWriter } from "../ext4/writer.ts";
import type { Agent } from "../image/convert.ts";
import { ImageService } from "../image/service.ts";
import { OciSources } from "../image/sources.ts";
import type { DiskBuilder } from "../kernel/disk_builder.ts";
import { KernelStore } from "../kernel/store.ts";
import { readFile } from "../oci/store/read_file.ts";
import { unzstd } from "../oci/compression/zstd/frames.ts";
import { openStore } from "../store/open_store.ts";
import { type Paths, resolvePaths, vmPaths } from "../store/paths.ts";
import type { Store } from "../store/store.ts";
import { systemHttpClient } from "../sys/http.ts";
import { serveUnix } from "../sys/http_server.ts";
import { ensureClientKey } from "../vm/config_disk.ts";
import type { VmDeps } from "../vm/deps.ts";
import { recoverBridge } from "../vm/network.ts";
import { VmEvents } from "../vm/events.ts";
import { ImageChanges } from "../vm/image_change.ts";
import { reconcile } from "../vm/reconcile.ts";
import { VmRecordKeeper } from "../vm/record_keeper.ts";
import { VmService } from "../vm/service.ts";
import { removeTemporaryFiles } from "../vm/temporary_files.ts";
import { hostDrivers } from "../vmm/drivers.ts";
import { DiskUsage } from "./disk_usage.ts";
import { NamedBridge } from "./bridge_names.ts";
import { guestProbe } from "./guest_probe.ts";
import { relayArguments } from "./relay_main.ts";
import { daemonServices } from "./services.ts";
import { vmmSettings, vmSettings } from "./vmm_settings.ts";
import { DEFAULT_DNS_PORT } from "../config/schema.ts";
import { serveNames } from "./vm_names.ts";
import { uuidFromSeed } from "../base/uuid.ts";

/** This process, as the daemon needs to know it. */
export interface Self {
  readonly pid: number;
  readonly uid: number;
  readonly executable: string;
  /** As its kernel calls the processor: `x86_64`. */
  readonly architecture: string;
  /** Of the bundled worker that inflates layers. */
  readonly decompressWorkerUrl: string;
  environment(name: string): string | undefined;
  onSignal(signal: "SIGTERM" | "SIGINT", handler: () => void): void;
}

/** Runs until it is told to end. Machines run on. */
export async function daemonMain(host: Host, build: BuildStamp, self: Self): Promise<void> {
  const paths = resolvePaths(self.environment, self.uid);
  const { files, log } = host;
  await files.makeDirectory(paths.stateDirectory, 0o700);
  await preparePrivateDirectory(files, paths.runtimeDirectory, self.uid);
  await using lock = await files.tryLock(paths.daemonLock);
  if (!lock) {
    log("info", "another daemon runs already", { socket: paths.daemonSocket });
    return;
  }
  await removeTemporaryFiles(host, paths);
  const opened = await openStore(host, paths.database);
  using store = opened.store;
  using http = systemHttpClient();
  await using sources = imageSources(host, http, self, paths);
  const stop = new AbortController();
  const ending = Promise.withResolvers<void>();
  const notices: string[] = [];
  const names = serveNames(
    host,
    store,
    { port: await dnsPort(host, paths), uid: self.uid, owner: paths.stateDirectory },
    stop.signal,
  );
  const { vms, deps, bridge, operations, app } = await wire({
    host,
    build,
    self,
    paths,
    store,
    sources,
    http,
    notices,
    names,
    shutdown: ending.resolve,
  });
  notices.push(...recoveryNotices(await reconcile(deps, vms), opened.damagedPath));
  await recoverBridge(deps, ({ id }) => vms.running.get(id) !== undefined)
    .catch((thrown) => log("error", "cannot bring the bridge in order", { reason: reasonOf(thrown) }));
  if (!(await host.sockets.removeStaleSocket(paths.daemonSocket))) {
    throw new BangerError("already_exists", `Cannot listen on ${paths.daemonSocket}: somebody else does`);
  }
  const server = serveUnix(paths.daemonSocket, (request) => app.fetch(request));
  log("info", "the daemon runs", { pid: self.pid, build: buildId(build), socket: paths.daemonSocket });
  const watching = Promise.all([vms.running.watch(stop.signal), vms.trash.watch(stop.signal)]);
  self.onSignal("SIGTERM", ending.resolve);
  self.onSignal("SIGINT", ending.resolve);
  await ending.promise;
  log("info", "the daemon ends; VMs run on");
  stop.abort();
  await operations.cancelAll();
  await server.close();
  await bridge.shutDown().catch((thrown) =>
    log("error", "cannot take the bridge down", { reason: reasonOf(thrown) })
  );
  await files.remove(paths.daemonSocket);
  await Promise.all([watching, names.running]);
}

/** A slip in the configuration must not keep the daemon from running: what needs the rest of it will say so. */
async function dnsPort({ files, log }: Host, paths: Paths): Promise<number> {
  try {
    return (await readConfig(files, paths.configFile)).network.dns_port;
  } catch (thrown) {
    log("warn", "the configuration cannot be used", { reason: reasonOf(thrown) });
    return DEFAULT_DNS_PORT;
  }
}

interface Parts {
  readonly host: Host;
  readonly build: BuildStamp;
  readonly self: Self;
  readonly paths: Paths;
  readonly store: Store;
  readonly sources: OciSources;
  readonly http: HttpClient;
  readonly notices: readonly string[];
  readonly names: Pick<ReturnType<typeof serveNames>, "status">;
  shutdown(): void;
}

async function wire(parts: Parts) {
  const { host, build, self, paths, store, sources, http, notices, names, shutdown } = parts;
  const images = new ImageService(host, {
    paths,
    images: store.images,
    agent: await findAgent(host, build, self.executable),
    sources,
    platform: self.architecture,
  });
  await images.recover();
  await sources.cleanUp();
  const kernels = kernelStore(host, paths, http);
  await kernels.cleanUp();
  await ensureClientKey(host.files, paths);
  const operations = new Operations(host);
  const events = new VmEvents(host);
  const vhostDeviceVsock = self.environment("BANGER_VHOST_DEVICE_VSOCK");
  const bridge = new NamedBridge(host, paths.bridgeState);
  const deps: VmDeps = {
    host,
    paths,
    store,
    events,
    records: new VmRecordKeeper(host, paths, store),
    ...configured(host, paths, self),
    guest: guestProbe(host),
    ensureImage: (name, progress, signal) => images.ensure(name, progress, signal),
    ensureKernel: (name, progress, signal) => ensureKernel(kernels, name, progress, signal),
    bridge,
    relayCommand: (options) => ({ program: self.executable, args: relayArguments(options) }),
    ...(vhostDeviceVsock ? { vhostDeviceVsock } : {}),
  };
  const vms = new VmService(deps);
  const services = daemonServices({
    host,
    build,
    pid: self.pid,
    paths,
    store,
    operations,
    images,
    kernels,
    vms,
    imageChanges: new ImageChanges(deps, vms.queues),
    diskUsage: new DiskUsage(host.files, paths, store.vms),
    events,
    config: () => readConfig(host.files, paths.configFile),
    trashKeepMs: deps.trashKeepMs,
    notices,
    deps,
    names,
    bridge,
    shutdown,
  });
  return { vms, deps, bridge, operations, app: routes(services, host.log) };
}

/** What config.toml decides, read anew each time that it counts. */
function configured(
  host: Host,
  paths: Paths,
  self: Self,
): Pick<VmDeps, "drivers" | "trashKeepMs" | "settings" | "defaultAllowNet"> {
  const config = () => readConfig(host.files, paths.configFile);
  return {
    drivers: hostDrivers(
      host,
      async () => vmmSettings(await config()),
      { metrics: ({ id }) => vmPaths(paths, id).metrics, jail: ({ id }) => vmPaths(paths, id).jail },
      self.uid === 0,
    ),
    trashKeepMs: async () => (await config()).trash.keep ?? TRASH_KEEP_MS,
    settings: async () => vmSettings(await config(), self.environment("HOME")),
    defaultAllowNet: async () => (await config()).network.allow,
  };
}

function kernelStore(host: Host, { kernelsDirectory, cacheDirectory }: Paths, http: HttpClient): KernelStore {
  const tools = { buildDisk: diskBuilder(host), unzstd, http };
  return new KernelStore(host, { kernelsDirectory, cacheDirectory }, tools);
}

async function ensureKernel(kernels: KernelStore, name: string, progress: Progress, signal: AbortSignal) {
  const parsed = parseKernelName(name);
  return await kernels.find(parsed) ?? await kernels.pull(parsed, progress, signal);
}

/** @param takenIn VMs whose row was made again */
function recoveryNotices(takenIn: number, damagedPath: string | undefined): string[] {
  const vms = takenIn === 1 ? "1 VM" : `${takenIn} VMs`;
  const found = `${vms} found again beside ${takenIn === 1 ? "its" : "their"} disks`;
  if (damagedPath !== undefined) {
    return [
      `the database was damaged and is made again: ${found}; the damaged one is kept as ${damagedPath}`,
    ];
  }
  return takenIn === 0 ? [] : [`the database did not know all VMs: ${found}; see banger vm list --all`];
}

function imageSources(host: Host, http: HttpClient, self: Self, paths: Paths): OciSources {
  return new OciSources({ ...host, http, random: Math.random }, {
    directory: paths.contentDirectory,
    variable: self.environment,
    decompressWorkerUrl: self.decompressWorkerUrl,
    async settings() {
      const { registries } = await readConfig(host.files, paths.configFile);
      return { mirrors: registries.mirrors, insecureHosts: registries.insecure };
    },
  });
}

/** The agent lies beside the daemon: the command line wrote both out. */
async function findAgent({ files }: Host, build: BuildStamp, executable: string): Promise<Agent> {
  const path = `${dirname(executable)}/banger-vsock-agent`;
  const stat = await files.stat(path);
  if (!stat) {
    throw new BangerError(
      "missing_tool",
      `Cannot find the guest's agent at ${path}`,
      "Start the daemon through banger, which writes the agent there",
    );
  }
  return { buildId: buildId(build), open: () => readFile(files, path) };
}

/** Kernels write their modules disk with the ext4 room. */
function diskBuilder({ files }: Host): DiskBuilder {
  return async (path, { uuidSeed, label }, fill) => {
    await using file = await files.open(path, { read: true, write: true, createNew: true, mode: 0o644 });
    const uuid = uuidFromSeed(uuidSeed);
    await using writer = await FilesystemWriter.create(file, { uuid, label, timestamp: EPOCH });
    await writer.finish(await fill(writer));
    await file.sync();
  };
}
