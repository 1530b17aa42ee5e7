import type { ImageId, ImageName, KernelName, VmId, VmName } from "../../lib/base/names.ts";
import { resolvePaths, vmPaths } from "../../lib/store/paths.ts";
import type { ImageRecord, VmRecord } from "../../lib/store/records.ts";
import { Store } from "../../lib/store/store.ts";
import { type Benchmark, timedMs } from "./benchmark.ts";
import { BANGER } from "./commands.ts";

const FEW = 10;
const MANY = 1000;

const IMAGE: ImageRecord = {
  id: "aabbccddeeff" as ImageId,
  name: "debian" as ImageName,
  source: "recipe:bench",
  digest: "sha256:00",
  createdAtMs: 1,
  sizeBytes: 1,
  contentBytes: 1,
  init: "none",
  libc: "none",
  hasSshServer: false,
  agentBuild: "bench",
  config: { user: "", environment: {}, workingDirectory: "", entrypoint: [], command: [] },
};

const RECORD: VmRecord = {
  createdAtMs: 1,
  spec: {
    imageName: IMAGE.name,
    kernelName: "debian" as KernelName,
    cpus: 2,
    memoryMib: 2048,
    workDiskBytes: 8 * 1024 ** 3,
    network: "user",
    transport: "virtio-serial",
    environment: {},
  },
};

/** A home with stopped VMs, as many as were asked for, and its daemon. */
class Home implements AsyncDisposable {
  readonly #directory: string;

  private constructor(directory: string) {
    this.#directory = directory;
  }

  static async open(vmCount: number): Promise<Home> {
    const directory = await Deno.makeTempDir({ prefix: "banger-bench-list-" });
    const paths = resolvePaths((name) => name === "HOME" ? directory : undefined, Deno.uid() ?? 0);
    await Deno.mkdir(paths.stateDirectory, { recursive: true });
    using store = Store.open(paths.database);
    store.images.insert(IMAGE);
    for (let index = 0; index < vmCount; index++) {
      const id = index.toString(16).padStart(12, "0") as VmId;
      store.vms.reserve(id, `vm-${index}` as VmName, IMAGE.id, RECORD);
      const files = vmPaths(paths, id);
      await Deno.mkdir(files.directory, { recursive: true });
      for (const path of [`${files.directory}/root.qcow2`, files.workDisk]) {
        await Deno.writeTextFile(path, "x");
      }
      store.vms.transition("create", id, "stopped", { record: { rootDisk: "qcow2" } });
    }
    return new Home(directory);
  }

  async banger(...args: string[]): Promise<void> {
    const { code, stderr } = await new Deno.Command(BANGER, {
      args,
      env: { HOME: this.#directory },
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).output();
    if (code !== 0) throw new Error(new TextDecoder().decode(stderr));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.banger("daemon", "stop", "--force");
    await Deno.remove(this.#directory, { recursive: true });
  }
}

export const list: Benchmark = {
  name: "list",
  summary: `\`banger vm list --all\` of ${MANY} VMs, against the same of ${FEW}`,
  maxRatio: 2,
  runs: 15,
  async prepare() {
    await using onFailure = new AsyncDisposableStack();
    const [many, few] = [onFailure.use(await Home.open(MANY)), onFailure.use(await Home.open(FEW))];
    for (const home of [many, few]) await home.banger("daemon", "start");
    const owned = onFailure.move();
    return {
      pair: async () => ({
        oursMs: await timedMs(() => many.banger("vm", "list", "--all")),
        peerMs: await timedMs(() => few.banger("vm", "list", "--all")),
      }),
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    };
  },
};
