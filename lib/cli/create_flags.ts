import type { CreateVm } from "../api/contract.ts";
import { BangerError } from "../base/errors.ts";
import { absoluteImageSource } from "../base/image_source.ts";
import { quote } from "../base/names.ts";
import { MIB, parseSizeBytes } from "../base/units.ts";
import { NETWORK_OPTIONS, networkRequest } from "./network_flags.ts";
import { type Context, type Input, listOption, type Option, textOption } from "./command.ts";

/** Flags of `vm create` and `vm run`, and the field of the request that each fills. */
export const CREATE_OPTIONS: readonly Option[] = [
  { flags: "-n, --name <name>", summary: "the VM's name, a DNS label (default: an invented one)" },
  {
    flags: "-i, --image <image>",
    completes: "image",
    summary:
      "what to boot: a name, a reference or a path, as image pull takes it (default: config.toml's, else debian-bookworm); pulled where it is missing",
  },
  {
    flags: "--kernel <kernel>",
    completes: "kernel",
    summary: "the kernel to boot it with (default: debian); pulled where it is missing",
  },
  { flags: "-c, --cpus <count>", summary: "virtual processors (default: config.toml's, else 2)" },
  { flags: "-m, --memory <size>", summary: "memory, such as 512M or 2G (default: config.toml's, else 2G)" },
  {
    flags: "--disk <size>",
    summary:
      "size of the work disk at /root (default: config.toml's, else 8G); it takes only what is written",
  },
  {
    flags: "--network <mode>",
    choices: ["user", "bridge", "none"],
    summary:
      "user: a way out without privilege (default); bridge: one of its own, for root; none: no network card",
  },
  ...NETWORK_OPTIONS,
  {
    flags: "--vmm <vmm>",
    choices: ["qemu", "firecracker"],
    summary: "qemu or firecracker (default: Firecracker where the host and the VM allow it)",
  },
  {
    flags: "--root-disk <mode>",
    choices: ["reflink", "qcow2", "dm-snapshot", "copy"],
    summary: "reflink, qcow2, dm-snapshot or copy (default: the cheapest that the host offers)",
  },
  {
    flags: "-e, --env <name=value>",
    summary: "a variable for every command in the VM; may be repeated",
    repeated: true,
  },
];

const FLAG_OF_FIELD: Record<string, string> = {
  name: "--name",
  image: "--image",
  kernel: "--kernel",
  cpus: "--cpus",
  memoryMib: "--memory",
  workDiskBytes: "--disk",
  network: "--network",
  vmm: "--vmm",
  rootDisk: "--root-disk",
  publish: "--publish",
  forward: "--no-forward",
  allowNet: "--allow-net",
  environment: "--env",
};

/**
 * The flags as the request they mean, checked with the same schema that the daemon uses.
 *
 * @throws {BangerError} `invalid_argument` that names the flag
 */
export async function createRequest(context: Context, input: Input): Promise<CreateVm> {
  const { createVmSchema } = await import("../api/contract.ts");
  const memory = textOption(input, "memory");
  const disk = textOption(input, "disk");
  const cpus = textOption(input, "cpus");
  const gitIdentity = await findGitIdentity(context);
  const raw = {
    name: textOption(input, "name"),
    image: requestedImage(context, textOption(input, "image")),
    kernel: textOption(input, "kernel"),
    cpus: cpus === undefined ? undefined : cpusFlag(cpus),
    memoryMib: memory === undefined ? undefined : memoryFlag(memory),
    workDiskBytes: disk === undefined ? undefined : sizeFlag("--disk", disk),
    network: textOption(input, "network"),
    vmm: textOption(input, "vmm"),
    rootDisk: textOption(input, "rootDisk"),
    ...networkRequest(input),
    transport: context.environment("BANGER_TRANSPORT"),
    environment: environmentFlag(listOption(input, "env")),
    gitIdentity,
  };
  const present = Object.fromEntries(Object.entries(raw).filter(([, value]) => value !== undefined));
  const result = createVmSchema.safeParse(present);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const field = String(issue?.path[0] ?? "");
  if (issue?.message.startsWith("Cannot ")) throw new BangerError("invalid_argument", issue.message);
  throw new BangerError(
    "invalid_argument",
    `Cannot use ${FLAG_OF_FIELD[field] ?? field}: ${issue?.message ?? "it is not valid"}`,
    "See the usage: banger vm create --help",
  );
}

/** The daemon has another working directory. */
export function requestedImage({ absolutePath }: Context, text: string | undefined): string | undefined {
  return text === undefined ? undefined : absoluteImageSource(text, absolutePath("").replace(/\/$/, ""));
}

export function cpusFlag(text: string): number {
  return wholeNumber("--cpus", text);
}

/** @returns MiB */
export function memoryFlag(text: string): number {
  return Math.floor(sizeFlag("--memory", text) / MIB);
}

/** @throws {BangerError} `invalid_argument` that names the flag */
export function sizeFlag(name: string, text: string): number {
  try {
    return parseSizeBytes(text);
  } catch (thrown) {
    if (!(thrown instanceof BangerError)) throw thrown;
    throw new BangerError("invalid_argument", `${thrown.message} for ${name}`, thrown.hint);
  }
}

function wholeNumber(name: string, text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new BangerError("invalid_argument", `Cannot use ${quote(text)} for ${name}: it is no whole number`);
}

export function environmentFlag(pairs: readonly string[]): Record<string, string> | undefined {
  if (pairs.length === 0) return undefined;
  return Object.fromEntries(pairs.map((pair) => {
    const at = pair.indexOf("=");
    if (at > 0) return [pair.slice(0, at), pair.slice(at + 1)];
    throw new BangerError("invalid_argument", `Cannot use ${quote(pair)} for --env: it is not NAME=VALUE`);
  }));
}

/** The user's own identity, so that commits made in the VM are theirs. Without git or an identity there is none. */
async function findGitIdentity({ processes }: Context): Promise<{ name: string; email: string } | undefined> {
  try {
    const { code, stdout } = await processes.run({
      program: "git",
      args: ["config", "--null", "--get-regexp", "^user\\.(name|email)$"],
    });
    if (code !== 0) return undefined;
    const values = new Map(
      stdout.split("\0").filter(Boolean).map((entry) => {
        const at = entry.indexOf("\n");
        return [entry.slice(0, at), entry.slice(at + 1)] as const;
      }),
    );
    const name = values.get("user.name");
    const email = values.get("user.email");
    return name && email ? { name, email } : undefined;
  } catch (thrown) {
    if (thrown instanceof BangerError && thrown.code === "missing_tool") return undefined;
    throw thrown;
  }
}
