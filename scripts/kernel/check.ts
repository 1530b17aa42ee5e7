/**
 * Shows that a kernel of the store can do what guests need, each thing done for real:
 *
 * deno task kernel:check [NAME] [--only features|images|docker]...    default: banger, all three
 *
 * features: one VM of banger's with that kernel (virtio over MMIO), in which feature_check.py runs, and one bare QEMU
 * with PCI for what banger's own machine has no device for. images: each of the tests' OCI images is booted, used and
 * ended. docker: Debian's Docker in a guest. Prints a table; ends with 1 where something is missing.
 */
import { parseArgs } from "node:util";
import { stopCleanly } from "../../tests/smoke/clean_stop.ts";
import { BANGER, read, removing, run, runBanger } from "../bench/commands.ts";
import { build } from "../build.ts";
import { checkDocker, DOCKER_TOOLS } from "./check_docker.ts";
import { checkImages, IMAGE_TOOLS } from "./check_images.ts";
import { checkOverPci } from "./check_pci.ts";
import { type Feature, lookFor, parseFeatures } from "./features.ts";

const SCRIPT = new URL("feature_check.py", import.meta.url).pathname;
const GUEST_DIRECTORY = "/var/tmp/kernel-check";
const PARTS = ["features", "images", "docker"] as const;
type Part = typeof PARTS[number];
/** command:Debian package */
const FEATURE_TOOLS = [
  ["nft", "nftables"],
  ["mkfs.erofs", "erofs-utils"],
  ["busybox", "busybox-static"],
  ["qemu-img", "qemu-utils"],
  ["e2fsck", "e2fsprogs"],
] as const;
const TOOLS: Readonly<Record<Part, readonly (readonly [string, string])[]>> = {
  features: FEATURE_TOOLS,
  images: IMAGE_TOOLS,
  docker: DOCKER_TOOLS,
};
/** What a program of V8's own does that a kernel could spoil: code made at run time, threads, shared memory. */
const V8_CHECK = `
const bytes = [0, 97, 115, 109, 1, 0, 0, 0, 1, 7, 1, 96, 2, 127, 127, 1, 127, 3, 2, 1, 0, 7, 7, 1, 3, 97, 100, 100, 0, 0,
  10, 9, 1, 7, 0, 32, 0, 32, 1, 106, 11];
const { add } = new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array(bytes))).exports;
let sum = 0;
for (let i = 0; i < 300_000; i++) sum = add(sum, i) % 65_521;
const shared = new Int32Array(new SharedArrayBuffer(4));
const source = "onmessage = ({ data }) => { Atomics.store(data, 0, 42); Atomics.notify(data, 0); }";
const worker = new Worker("data:application/javascript," + encodeURIComponent(source), { type: "module" });
worker.postMessage(shared);
Atomics.wait(shared, 0, 0, 60_000);
worker.terminate();
console.log(Deno.version.deno, sum, shared[0]);
`;

async function which(program: string): Promise<string | undefined> {
  for (const directory of [...(Deno.env.get("PATH") ?? "").split(":"), "/usr/sbin", "/sbin"]) {
    if (await Deno.stat(`${directory}/${program}`).catch(() => undefined)) return `${directory}/${program}`;
  }
  return undefined;
}

/** @returns the path of each by its name */
async function requireTools(parts: readonly Part[]): Promise<Readonly<Record<string, string>>> {
  const found: Record<string, string> = {};
  const missing = new Set<string>();
  for (const [program, name] of parts.flatMap((part) => TOOLS[part])) {
    const path = await which(program);
    if (path) found[program] = path;
    else missing.add(name);
  }
  if (missing.size === 0) return found;
  throw new Error(`tools are missing. Install them: sudo apt-get install -y ${[...missing].join(" ")}`);
}

/**
 * This host's `nft`, with its libraries and their loader, so that it runs in a guest whatever that has.
 *
 * Source: ld.so(8), running a program through the loader
 */
async function stageNft(nft: string, directory: string): Promise<void> {
  const paths = [...(await read("ldd", [nft])).matchAll(/(\/[^\s]+) \(0x/g)].map(([, path]) => path!);
  await run("cp", ["-L", nft, `${directory}/nft.real`]);
  await run("cp", ["-L", ...paths, directory]);
  const loader = paths.map((path) => path.slice(path.lastIndexOf("/") + 1)).find((name) =>
    name.startsWith("ld-")
  );
  const wrapper =
    `#!/bin/sh\nhere=\${0%/*}\nexec "$here/${loader}" --library-path "$here" "$here/nft.real" "$@"\n`;
  await Deno.writeTextFile(`${directory}/nft`, wrapper, { mode: 0o755 });
}

async function stage(tools: Readonly<Record<string, string>>, directory: string): Promise<void> {
  const content = `${directory}/erofs`;
  await Deno.mkdir(content);
  await Deno.writeTextFile(`${content}/hello`, "from erofs");
  // Long and dull: something to compress.
  await Deno.writeTextFile(`${content}/long`, "banger ".repeat(20_000));
  await run(tools["mkfs.erofs"]!, ["-zlz4", `${directory}/test.erofs`, content]);
  await Deno.remove(content, { recursive: true });
  await stageNft(tools.nft!, directory);
  await Deno.copyFile(SCRIPT, `${directory}/feature_check.py`);
}

/** The default image: systemd, an ssh server, and V8 in a program of its own. */
async function checkInVm(kernel: string, stateDirectory: string, staged: string): Promise<Feature[]> {
  const vm = `kernel-check-${Deno.pid}`;
  await using _vm = removing(vm);
  await run(BANGER, ["vm", "create", "--name", vm, "--kernel", kernel, "--quiet"]);
  await run(BANGER, ["vm", "cp", `${staged}/guest/.`, `${vm}:${GUEST_DIRECTORY}`]);
  const command = ["python3", `${GUEST_DIRECTORY}/feature_check.py`, GUEST_DIRECTORY];
  const features = parseFeatures(await runBanger(["vm", "exec", vm, "--", ...command]));
  features.push(
    await lookFor("V8", async () => {
      await run(BANGER, ["vm", "cp", Deno.execPath(), `${vm}:${GUEST_DIRECTORY}/deno`]);
      const said = await runBanger(["vm", "exec", vm, "--", `${GUEST_DIRECTORY}/deno`, "eval", V8_CHECK]);
      const [, version] = /^(\S+) 27200 42\n$/.exec(said) ?? [];
      if (version === undefined) throw new Error(`it prints ${JSON.stringify(said)}`);
      return `Deno ${version}: WebAssembly, a worker, shared memory`;
    }),
    await lookFor("ssh, and a clean end", async () => {
      const said = await runBanger(["vm", "ssh", vm, "--", "uname -r; ss -Hltn sport = :22"]);
      if (!said.includes(":22 ")) throw new Error(`no ssh server listens: ${JSON.stringify(said)}`);
      await stopCleanly(runBanger, stateDirectory, vm, staged);
      return "over the image's own ssh server; shut down, disks clean";
    }),
  );
  return features;
}

function row({ verdict, name, seen }: Feature): string {
  return `${verdict.padEnd(8)}${name.padEnd(38)}${seen}`;
}

async function checkFeatures(
  kernel: string,
  stateDirectory: string,
  tools: Readonly<Record<string, string>>,
  staged: string,
): Promise<Feature[]> {
  await Deno.mkdir(`${staged}/guest`);
  await stage(tools, `${staged}/guest`);
  const features = await checkInVm(kernel, stateDirectory, staged);
  const vmlinux = `${stateDirectory}/kernels/${kernel}/vmlinux`;
  return [...features, ...await checkOverPci(vmlinux, tools.busybox!, staged)];
}

async function main(kernel: string, parts: readonly Part[]): Promise<number> {
  const tools = await requireTools(parts);
  await build();
  const { version } = JSON.parse(await runBanger(["kernel", "show", kernel, "--json"])) as {
    version: string;
  };
  const { stateDirectory } = JSON.parse(await runBanger(["daemon", "status", "--json"])) as {
    stateDirectory: string;
  };
  const staged = await Deno.makeTempDir({ prefix: "banger-kernel-check-" });
  const told: Feature[] = [];
  const tell = (feature: Feature) => {
    told.push(feature);
    console.log(row(feature));
  };
  const say = (text: string) => console.error(`kernel: ${text}`);
  try {
    console.log(`${kernel} ${version}`);
    if (parts.includes("features")) {
      say("the default image and a bare QEMU");
      (await checkFeatures(kernel, stateDirectory, tools, staged)).forEach(tell);
    }
    if (parts.includes("images")) {
      say("the images of the tests");
      await checkImages(kernel, stateDirectory, tell);
    }
    if (parts.includes("docker")) (await checkDocker(kernel, stateDirectory, staged, say)).forEach(tell);
    const missing = told.filter(({ verdict }) => verdict !== "ok").length;
    console.log(`${told.length - missing} of ${told.length} work`);
    return missing === 0 && told.length > 0 ? 0 : 1;
  } finally {
    await Deno.remove(staged, { recursive: true });
  }
}

/** @throws {Error} with the usage */
function parseCommandLine(): { kernel: string; parts: readonly Part[] } {
  const { values: { only }, positionals } = parseArgs({
    args: Deno.args,
    allowPositionals: true,
    options: { only: { type: "string", multiple: true } },
  });
  const parts = PARTS.filter((part) => only === undefined || only.includes(part));
  const unknown = only?.find((name) => !PARTS.some((part) => part === name));
  if (unknown !== undefined || positionals.length > 1) {
    throw new Error("usage: deno task kernel:check [NAME] [--only features|images|docker]...");
  }
  return { kernel: positionals[0] ?? "banger", parts };
}

if (import.meta.main) {
  try {
    const { kernel, parts } = parseCommandLine();
    Deno.exit(await main(kernel, parts));
  } catch (thrown) {
    console.error(`Cannot check the kernel: ${thrown instanceof Error ? thrown.message : thrown}`);
    Deno.exit(1);
  }
}
