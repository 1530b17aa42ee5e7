/**
 * Shows that a kernel of the store can do what guests need, each thing done for real:
 *
 * deno task kernel:check [NAME]    default: banger
 *
 * One VM of banger's with that kernel (virtio over MMIO), in which feature_check.py runs, and one bare QEMU with PCI
 * for what banger's own machine has no device for. Prints a table; ends with 1 where something is missing.
 */
import { BANGER, read, removing, run } from "../bench/commands.ts";
import { build } from "../build.ts";
import { checkOverPci } from "./check_pci.ts";
import { type Feature, parseFeatures } from "./features.ts";

const SCRIPT = new URL("feature_check.py", import.meta.url).pathname;
const GUEST_DIRECTORY = "/var/tmp/kernel-check";
/** command:Debian package */
const TOOLS = [["nft", "nftables"], ["mkfs.erofs", "erofs-utils"], ["busybox", "busybox-static"]] as const;

async function which(program: string): Promise<string | undefined> {
  for (const directory of [...(Deno.env.get("PATH") ?? "").split(":"), "/usr/sbin", "/sbin"]) {
    if (await Deno.stat(`${directory}/${program}`).catch(() => undefined)) return `${directory}/${program}`;
  }
  return undefined;
}

async function requireTools(): Promise<Record<typeof TOOLS[number][0], string>> {
  const found: Record<string, string> = {};
  const missing: string[] = [];
  for (const [program, name] of TOOLS) {
    const path = await which(program);
    if (path) found[program] = path;
    else missing.push(name);
  }
  if (missing.length === 0) return found as Record<typeof TOOLS[number][0], string>;
  throw new Error(`tools are missing. Install them: sudo apt-get install -y ${missing.join(" ")}`);
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

async function stage(tools: Awaited<ReturnType<typeof requireTools>>, directory: string): Promise<void> {
  const content = `${directory}/erofs`;
  await Deno.mkdir(content);
  await Deno.writeTextFile(`${content}/hello`, "from erofs");
  // Long and dull: something to compress.
  await Deno.writeTextFile(`${content}/long`, "banger ".repeat(20_000));
  await run(tools["mkfs.erofs"], ["-zlz4", `${directory}/test.erofs`, content]);
  await Deno.remove(content, { recursive: true });
  await stageNft(tools.nft, directory);
  await Deno.copyFile(SCRIPT, `${directory}/feature_check.py`);
}

async function checkInVm(kernel: string, staged: string): Promise<Feature[]> {
  const vm = `kernel-check-${Deno.pid}`;
  await using _vm = removing(vm);
  await run(BANGER, ["vm", "create", "--name", vm, "--kernel", kernel, "--quiet"]);
  await run(BANGER, ["vm", "cp", `${staged}/.`, `${vm}:${GUEST_DIRECTORY}`]);
  const command = ["python3", `${GUEST_DIRECTORY}/feature_check.py`, GUEST_DIRECTORY];
  return parseFeatures(await read(BANGER, ["vm", "exec", vm, "--", ...command]));
}

function row({ verdict, name, seen }: Feature): string {
  return `${verdict.padEnd(8)}${name.padEnd(34)}${seen}`;
}

async function main(kernel: string): Promise<number> {
  const tools = await requireTools();
  await build();
  const { version } = JSON.parse(await read(BANGER, ["kernel", "show", kernel, "--json"])) as {
    version: string;
  };
  const status = await read(BANGER, ["daemon", "status", "--json"]);
  const { stateDirectory } = JSON.parse(status) as { stateDirectory: string };
  const staged = await Deno.makeTempDir({ prefix: "banger-kernel-check-" });
  try {
    console.log(`${kernel} ${version}`);
    await Deno.mkdir(`${staged}/guest`);
    await stage(tools, `${staged}/guest`);
    const features = await checkInVm(kernel, `${staged}/guest`);
    const vmlinux = `${stateDirectory}/kernels/${kernel}/vmlinux`;
    features.push(...await checkOverPci(vmlinux, tools.busybox, staged));
    for (const feature of features) console.log(row(feature));
    const missing = features.filter(({ verdict }) => verdict !== "ok").length;
    console.log(`${features.length - missing} of ${features.length} features work`);
    return missing === 0 && features.length > 0 ? 0 : 1;
  } finally {
    await Deno.remove(staged, { recursive: true });
  }
}

if (import.meta.main) {
  try {
    Deno.exit(await main(Deno.args[0] ?? "banger"));
  } catch (thrown) {
    console.error(`Cannot check the kernel: ${thrown instanceof Error ? thrown.message : thrown}`);
    Deno.exit(1);
  }
}
