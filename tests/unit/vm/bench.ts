/** The lifecycle of VMs over real files and a real database; machines are made up. */
import type { Host } from "../../../lib/base/host.ts";
import type { ImageId, ImageName, KernelName, VmId, VmName } from "../../../lib/base/names.ts";
import { type Paths, resolvePaths, vmPaths } from "../../../lib/store/paths.ts";
import type { ImageRecord, Vm, VmRecord } from "../../../lib/store/records.ts";
import { Store } from "../../../lib/store/store.ts";
import { realHost } from "../../../lib/sys/host.ts";
import type { VmDeps } from "../../../lib/vm/deps.ts";
import { VmEvents } from "../../../lib/vm/events.ts";
import { VmRecordKeeper } from "../../../lib/vm/record_keeper.ts";
import type { Machine, MachineRecord } from "../../../lib/vmm/driver.ts";

// Signals go through a library that is loaded at the first one: not within a test, which would have to unload it.
await realHost().processes.signal(
  { pid: 2 ** 22 + 1, startTimeTicks: 0, bootId: "", executable: "/" },
  "SIGTERM",
);

export const IMAGE_ID = "aabbccddeeff" as ImageId;

/** Stands for a relay: says that it listens, and is there until it is ended. */
export const RELAY_SCRIPT = '>"$1/agent.sock"; while :; do sleep 1; done';

export const IMAGE: ImageRecord = {
  id: IMAGE_ID,
  name: "debian" as ImageName,
  source: "recipe:test",
  digest: "sha256:00",
  createdAtMs: 1,
  sizeBytes: 1,
  contentBytes: 1,
  init: "none",
  libc: "none",
  hasSshServer: false,
  agentBuild: "x",
  config: { user: "", environment: {}, workingDirectory: "", entrypoint: [], command: [] },
};

export const RECORD: VmRecord = {
  createdAtMs: 1,
  spec: {
    imageName: "debian",
    kernelName: "debian" as KernelName,
    cpus: 1,
    memoryMib: 512,
    workDiskBytes: 1,
    network: "user",
    transport: "virtio-serial",
    environment: {},
  },
};

/** A machine's state as a running VM's row has it. */
export const MACHINE_STATE = {
  record: {
    driver: "qemu",
    machineId: "x",
    process: { pid: 4_000_001, startTimeTicks: 1, bootId: "b", executable: "/bin/qemu" },
    helpers: [],
    controlSocket: "/nowhere/qmp.sock",
    runtimeDirectory: "/nowhere",
    endpoint: { kind: "hybrid", path: "/nowhere/agent.sock" },
    acceleration: { kind: "tcg", why: "a test" },
  } satisfies MachineRecord,
  relay: { pid: 4_000_002, startTimeTicks: 1, bootId: "b", executable: "/bin/relay" },
};

export interface Bench extends AsyncDisposable {
  readonly directory: string;
  readonly paths: Paths;
  readonly deps: VmDeps;
  readonly store: Store;
  /** Of the log, as `level: message`. */
  readonly logged: string[];
  /** Machines that `adopt` finds, by machine id. */
  readonly machines: Map<string, Machine>;
  /** A VM with its row, and with what stands for its disks. */
  addVm(id: string, name: string): Promise<Vm>;
  /** The bench again, as a new daemon would see it. */
  restarted(change?: (paths: Paths) => Promise<void> | void): Promise<Bench>;
}

export async function makeBench(host: Partial<Host> = {}): Promise<Bench> {
  return open(await Deno.makeTempDir({ prefix: "banger-vm-" }), host);
}

function open(directory: string, hostParts: Partial<Host>): Bench {
  const paths = resolvePaths((name) => name === "HOME" ? directory : undefined, 0);
  const inside = { ...paths, runtimeDirectory: `${directory}/run` as never };
  Deno.mkdirSync(paths.stateDirectory, { recursive: true });
  const logged: string[] = [];
  const host: Host = {
    ...realHost({ log: (level, message) => void logged.push(`${level}: ${message}`) }),
    ...hostParts,
  };
  const store = Store.open(paths.database);
  if (!store.images.find(IMAGE_ID)) store.images.insert(IMAGE);
  const machines = new Map<string, Machine>();
  const refuse = () => Promise.reject(new Error("this bench starts no machines"));
  const deps: VmDeps = {
    host,
    paths: inside,
    store,
    events: new VmEvents(host),
    records: new VmRecordKeeper(host, inside, store),
    drivers: {
      choose: refuse,
      named: () => ({
        name: "qemu",
        launch: refuse,
        adopt: ({ machineId }) => Promise.resolve(machines.get(machineId)),
      }),
    },
    guest: { isUp: () => Promise.resolve(true), powerOff: refuse, growWorkDisk: () => Promise.resolve() },
    settings: () => Promise.resolve({ reserveBytes: 1, fileSync: [] }),
    ensureImage: refuse,
    ensureKernel: refuse,
    trashKeepMs: () => Promise.resolve(60_000),
    bridge: {
      attach: refuse,
      adopt: () => {},
      detach: () => Promise.resolve(),
      recover: () => Promise.resolve(),
    },
    defaultAllowNet: () => Promise.resolve(["*"]),
    relayCommand: () => ({ program: "true", args: [] }),
  } as VmDeps;
  return {
    directory,
    paths: inside,
    deps,
    store,
    logged,
    machines,
    async addVm(id, name) {
      const vm = store.vms.reserve(id as VmId, name as VmName, IMAGE_ID, RECORD);
      const files = vmPaths(inside, id);
      await Deno.mkdir(files.directory, { recursive: true });
      for (const path of [`${files.directory}/root.qcow2`, files.workDisk]) {
        await Deno.writeTextFile(path, `disk of ${name}`);
      }
      return store.vms.transition("create", vm.id, "stopped", { record: { rootDisk: "qcow2" } });
    },
    async restarted(change = () => {}) {
      store[Symbol.dispose]();
      await change(inside);
      return open(directory, hostParts);
    },
    async [Symbol.asyncDispose]() {
      store[Symbol.dispose]();
      await host.files.remove(directory);
    },
  };
}

/** A machine that runs and is asked nothing. */
export function idleMachine(record: MachineRecord = MACHINE_STATE.record): Machine {
  const fine = () => Promise.resolve();
  return {
    record,
    endpoint: record.endpoint,
    isAlive: () => Promise.resolve(true),
    cpuTimeMs: () => Promise.resolve(0),
    status: () => Promise.resolve("running"),
    pause: fine,
    resume: fine,
    powerButton: fine,
    waitForExit: () => Promise.resolve(false),
    growDrive: () => Promise.resolve(),
    kill: fine,
  };
}
