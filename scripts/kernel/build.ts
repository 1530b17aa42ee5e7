/**
 * Builds banger's own guest kernel from Debian's kernel source package, everything that a guest needs built in.
 *
 * deno task kernel:build [--jobs N] [--arch x86_64|arm64 --configure-only]
 *
 * With --configure-only the configuration is made and checked, and nothing is compiled: all there is for arm64.
 * The result, build/kernel/banger/, is what `banger kernel import NAME --from` takes. The same source package and
 * the same compiler give the same bytes.
 */
import { createHash } from "node:crypto";
import { parseArgs } from "node:util";
import { AptFetcher } from "../../lib/kernel/apt.ts";
import { realHost } from "../../lib/sys/host.ts";

const root = new URL("../..", import.meta.url).pathname;
/** As the kernel's own ARCH; what they have in common is guest.config. */
const ARCHITECTURES = ["x86_64", "arm64"] as const;
type Architecture = typeof ARCHITECTURES[number];
const SOURCE_PACKAGE = "linux-source-6.1";
/** command:Debian package, beside what scripts/dev installs. */
const TOOLS = [
  ["make", "make"],
  ["gcc", "gcc"],
  ["ld", "binutils"],
  ["flex", "flex"],
  ["bison", "bison"],
  ["bc", "bc"],
  ["perl", "perl"],
  ["dpkg-deb", "dpkg"],
  ["xz", "xz-utils"],
  ["zstd", "zstd"],
  ["patch", "patch"],
] as const;
/** objtool needs its header. */
const LIBELF_HEADER = ["/usr/include/libelf.h", "libelf-dev"] as const;
/** Nothing of this machine and of this moment gets into the kernel. */
const REPRODUCIBLE = {
  KBUILD_BUILD_TIMESTAMP: "1970-01-01",
  KBUILD_BUILD_USER: "banger",
  KBUILD_BUILD_HOST: "banger",
  KBUILD_BUILD_VERSION: "1",
  LC_ALL: "C",
};

async function run(program: string, args: readonly string[], cwd: string, env: Record<string, string> = {}) {
  const { code } = await new Deno.Command(program, {
    args: [...args],
    cwd,
    env: { ...REPRODUCIBLE, ...env },
    stdin: "null",
  }).spawn().status;
  if (code !== 0) throw new Error(`${program} ${args.join(" ")} fails with ${code}`);
}

async function requireTools(): Promise<void> {
  const host = realHost();
  const missing: string[] = [];
  for (const [program, name] of TOOLS) if (!(await host.processes.which(program))) missing.push(name);
  if (!(await host.files.stat(LIBELF_HEADER[0]))) missing.push(LIBELF_HEADER[1]);
  if (missing.length === 0) return;
  throw new Error(
    `tools are missing. Install them: sudo apt-get install -y ${[...new Set(missing)].join(" ")}`,
  );
}

/**
 * What a merged configuration must say, line by line: a dependency that is missing drops options silently.
 * Exported for tests.
 */
export function unmetOptions(fragment: string, config: string): string[] {
  const settings = new Map(
    config.split("\n").flatMap((line) => {
      const match = /^(CONFIG_\w+)=(.*)$/.exec(line);
      return match ? [[match[1]!, match[2]!] as const] : [];
    }),
  );
  return fragment.split("\n").filter((line) => {
    const set = /^(CONFIG_\w+)=(.*)$/.exec(line);
    if (set) return settings.get(set[1]!) !== set[2];
    const unset = /^# (CONFIG_\w+) is not set$/.exec(line);
    return unset !== null && settings.has(unset[1]!);
  });
}

/** What is changed in the kernel's source, in the order of the names. */
async function readPatches(): Promise<{ paths: readonly string[]; revision: string }> {
  const directory = `${root}scripts/kernel/patches`;
  const paths = (await Array.fromAsync(Deno.readDir(directory))).map(({ name }) => `${directory}/${name}`)
    .sort();
  const hash = createHash("sha256");
  for (const path of paths) hash.update(await Deno.readFile(path));
  return { paths, revision: hash.digest("hex").slice(0, 8) };
}

async function fetchSource(work: string): Promise<{ directory: string; version: string }> {
  const apt = new AptFetcher(realHost(), `${work}/apt`);
  const signal = new AbortController().signal;
  const found = await apt.find(SOURCE_PACKAGE, signal);
  const patches = await readPatches();
  const directory = `${work}/${SOURCE_PACKAGE}-${found.version}-${patches.revision}`;
  if (await Deno.stat(`${directory}/Makefile`).catch(() => undefined)) {
    return { directory, version: found.version };
  }
  console.log(`kernel: fetching ${SOURCE_PACKAGE} ${found.version}`);
  const progress = { stage() {}, update() {}, note() {} };
  const path = await apt.download(found, `${work}/packages`, progress, signal);
  const staging = await Deno.makeTempDir({ dir: work, prefix: "unpack-" });
  await run("dpkg-deb", ["-x", path, staging], work);
  await run("tar", ["-xJf", `${staging}/usr/src/${SOURCE_PACKAGE}.tar.xz`], staging);
  for (const path of patches.paths) {
    await run("patch", ["-p1", "--quiet", "--fuzz=0", "-i", path], `${staging}/${SOURCE_PACKAGE}`);
  }
  await Deno.rename(`${staging}/${SOURCE_PACKAGE}`, directory);
  await Deno.remove(staging, { recursive: true });
  return { directory, version: found.version };
}

/** @returns where the configuration is */
async function configure(source: string, arch: Architecture, work: string): Promise<string> {
  const parts = ["guest", arch].map((name) => Deno.readTextFile(`${root}scripts/kernel/${name}.config`));
  const fragment = (await Promise.all(parts)).join("\n");
  const fragmentPath = `${work}/${arch}.fragment`;
  await Deno.writeTextFile(fragmentPath, fragment);
  // That of another architecture must not get in the way of what is compiled in the same tree.
  const path = arch === "x86_64" ? `${source}/.config` : `${work}/${arch}.config`;
  await run("make", ["-s", `ARCH=${arch}`, "allnoconfig"], source, {
    KCONFIG_ALLCONFIG: fragmentPath,
    KCONFIG_CONFIG: path,
  });
  const unmet = unmetOptions(fragment, await Deno.readTextFile(path));
  if (unmet.length > 0) throw new Error(`the configuration lacks what it needs:\n  ${unmet.join("\n  ")}`);
  return path;
}

async function collect(source: string, version: string, target: string): Promise<void> {
  await Deno.remove(target, { recursive: true }).catch(() => {}); // there may be none yet
  const release = (await Deno.readTextFile(`${source}/include/config/kernel.release`)).trim();
  const modules = `${target}/lib/modules/${release}`;
  await Deno.mkdir(target, { recursive: true });
  // What depmod writes, the import makes itself.
  const install = [`INSTALL_MOD_PATH=${target}`, "INSTALL_MOD_STRIP=1", "DEPMOD=true", "modules_install"];
  await run("make", ["-s", ...install], source);
  for (const link of ["build", "source"]) await Deno.remove(`${modules}/${link}`);
  await run("objcopy", ["--strip-all", "--remove-section=.comment", "vmlinux", `${target}/vmlinux`], source);
  await Deno.copyFile(`${source}/.config`, `${target}/config`);
  const metadata = {
    kernel: "vmlinux",
    modules: `lib/modules/${release}`,
    distribution: "banger",
    source: `${SOURCE_PACKAGE} ${version}`,
  };
  await Deno.writeTextFile(`${target}/metadata.json`, `${JSON.stringify(metadata, undefined, 2)}\n`);
  console.log(`kernel: ${release} in ${target}; try it: banger kernel import banger --from ${target}`);
}

function parseArchitecture(text: string, isConfiguredOnly: boolean): Architecture {
  const known = ARCHITECTURES.find((architecture) => architecture === text);
  if (known === undefined) throw new Error(`"${text}" is none of ${ARCHITECTURES.join(", ")}`);
  if (known === "x86_64" || isConfiguredOnly) return known;
  throw new Error(`a kernel for ${known} is not compiled here: add --configure-only`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      "jobs": { type: "string" },
      "arch": { type: "string", default: "x86_64" },
      "configure-only": { type: "boolean", default: false },
    },
  });
  const arch = parseArchitecture(values.arch, values["configure-only"]);
  await requireTools();
  const work = `${root}build/kernel-work`;
  await Deno.mkdir(work, { recursive: true });
  const { directory, version } = await fetchSource(work);
  const configuration = await configure(directory, arch, work);
  if (values["configure-only"]) {
    console.log(`kernel: ${configuration} has everything that guest.config and ${arch}.config ask for`);
    return;
  }
  const jobs = values.jobs ?? String(navigator.hardwareConcurrency);
  await run("make", ["-s", `-j${jobs}`, "vmlinux", "modules"], directory);
  await collect(directory, version, `${root}build/kernel/banger`);
}

if (import.meta.main) {
  try {
    await main();
  } catch (thrown) {
    console.error(`Cannot build the kernel: ${thrown instanceof Error ? thrown.message : thrown}`);
    Deno.exit(1);
  }
}
