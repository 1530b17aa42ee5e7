/** The executables of fault rounds, compiled once a run, and what a home needs beside them. */
import { BANGER_AGENT } from "./names.ts";
import { initramfsRevision } from "../../lib/kernel/initramfs.ts";
import type { Paths } from "../../lib/store/paths.ts";
import { tinyKernel } from "../host/vmm/tiny_guest.ts";
import { writingInitramfs } from "./writing_guest.ts";
import type { VmmKind } from "./world.ts";

const root = new URL("../..", import.meta.url).pathname;

export interface Kit {
  readonly directory: string;
  readonly daemon: string;
  installKernel(paths: Paths, vmm: VmmKind, name: string): Promise<void>;
}

let built: Promise<Kit> | undefined;

/** Compiled at the first call; the directory is gone when the process ends. */
export function buildKit(): Promise<Kit> {
  return built ??= compileKit();
}

async function compileKit(): Promise<Kit> {
  const directory = await Deno.makeTempDir({ prefix: "bf-kit-" });
  globalThis.addEventListener("unload", () => Deno.removeSync(directory, { recursive: true }));
  const daemon = `${directory}/bangerd`;
  const standIn = `${directory}/stand-in/qemu-system-x86_64`;
  await Deno.mkdir(`${directory}/stand-in`);
  await Deno.mkdir(`${directory}/real`);
  await compile("tests/faults/daemon.ts", daemon);
  await compile("tests/faults/stand_in_vmm.ts", standIn);
  // Static, so that it takes no C library into images; nobody runs it.
  await Deno.copyFile(await findBusybox(), `${directory}/${BANGER_AGENT}`);
  await Deno.writeTextFile(
    `${directory}/real/qemu-system-x86_64`,
    realQemu(standIn, await which("qemu-system-x86_64")),
    {
      mode: 0o755,
    },
  );
  return { directory, daemon, installKernel };
}

/**
 * The real QEMU with a guest that has no agent: its agent's port leads nowhere, and a process beside it answers in
 * the guest's place.
 */
function realQemu(standIn: string, qemu: string): string {
  return `#!/bin/sh
runtime= console=
for arg; do
  case $arg in
    socket,id=agent,path=*) runtime=\${arg#*path=}; runtime=\${runtime%/serial.sock*} ;;
    *'"filename":"'*/work.raw'"'*) console=\${arg#*'"filename":"'}; console=\${console%%/work.raw*}/console.log ;;
  esac
done
"${standIn}" agent "$runtime/" "$console" $$ &
for arg; do
  shift
  case $arg in
    socket,id=agent,path=*) set -- "$@" null,id=agent ;;
    *) set -- "$@" "$arg" ;;
  esac
done
exec "${qemu}" "$@"
`;
}

async function compile(entry: string, output: string): Promise<void> {
  const bundle = `${output}.js`;
  await run(["bundle", "--quiet", "--output", bundle, entry]);
  const flags = [
    "--quiet",
    "--no-check",
    "--no-code-cache",
    "--no-config",
    "--no-lock",
    "--no-npm",
    "--no-remote",
  ];
  const engine = ["--allow-all", "--v8-flags=--expose-gc", "--unstable-vsock"];
  await run(["compile", ...flags, ...engine, "--output", output, bundle]);
}

async function run(args: string[]): Promise<void> {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: root }).output();
  if (code !== 0) throw new Error(`deno ${args[0]} failed: ${new TextDecoder().decode(stderr)}`);
}

async function which(program: string): Promise<string> {
  for (const directory of (Deno.env.get("PATH") ?? "").split(":")) {
    const path = `${directory}/${program}`;
    if (await Deno.stat(path).then(({ isFile }) => isFile, () => false)) return path;
  }
  throw new Error(`fault rounds need ${program}: see scripts/dev`);
}

function findBusybox(): Promise<string> {
  return which("busybox");
}

/** A kernel of that name as the store has them. The stand-in opens none of its files. */
async function installKernel(paths: Paths, vmm: VmmKind, name: string): Promise<void> {
  const directory = `${paths.kernelsDirectory}/${name}`;
  await Deno.mkdir(directory, { recursive: true });
  const tiny = vmm === "real" ? await tinyKernel() : undefined;
  if (tiny) {
    await Deno.copyFile(tiny.vmlinuxPath, `${directory}/vmlinux`);
    await Deno.writeFile(`${directory}/initramfs.cpio`, await writingInitramfs(tiny.initramfsPath));
  } else {for (const file of ["vmlinux", "initramfs.cpio"]) {
      await Deno.writeTextFile(`${directory}/${file}`, "");
    }}
  await Deno.writeFile(`${directory}/modules.ext4`, new Uint8Array(4096));
  const manifest = {
    name,
    distribution: "none",
    architecture: Deno.build.arch,
    version: "0",
    sha256: "0",
    source: "made up",
    createdAt: new Date(0).toISOString(),
    initramfsBaseBytes: 0,
    initramfsRevision: initramfsRevision(),
  };
  await Deno.writeTextFile(`${directory}/manifest.json`, JSON.stringify(manifest));
}
