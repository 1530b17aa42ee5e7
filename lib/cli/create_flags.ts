import type { CreateVm } from "../api/contract.ts";
import { BangerError } from "../base/errors.ts";
import { absoluteImageSource, parseImageRequest } from "../base/image_source.ts";
import { parseKernelName, parseVmName, quote } from "../base/names.ts";
import { MIB, parseSizeBytes } from "../base/units.ts";
import { ENVIRONMENT_NAME, type Limits, VM_CHOICES, VM_LIMITS } from "../base/vm_limits.ts";
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
    choices: VM_CHOICES.network,
    summary:
      "user: a way out without privilege (default); bridge: one of its own, for root; none: no network card",
  },
  ...NETWORK_OPTIONS,
  {
    flags: "--vmm <vmm>",
    choices: VM_CHOICES.vmm,
    summary: "qemu or firecracker (default: Firecracker where the host and the VM allow it)",
  },
  {
    flags: "--root-disk <mode>",
    choices: VM_CHOICES.rootDisk,
    summary: "reflink, qcow2, dm-snapshot or copy (default: the cheapest that the host offers)",
  },
  {
    flags: "-e, --env <name=value>",
    summary: "a variable for every command in the VM; may be repeated",
    repeated: true,
  },
];

/**
 * The flags as the request they mean. They are checked here, before anything is done for the command; the daemon
 * checks the whole request by its schema, which would cost each command more than its own start.
 *
 * @throws {BangerError} `invalid_argument` that names the flag
 */
export function createRequest(context: Context, input: Input): Omit<CreateVm, "gitIdentity"> {
  const name = textOption(input, "name");
  const image = requestedImage(context, textOption(input, "image"));
  const kernel = textOption(input, "kernel");
  const [cpus, memory, disk] = [
    textOption(input, "cpus"),
    textOption(input, "memory"),
    textOption(input, "disk"),
  ];
  const transport = context.environment("BANGER_TRANSPORT");
  const request: { [K in keyof CreateVm]: CreateVm[K] | undefined } = {
    name: name === undefined ? undefined : parseVmName(name),
    image: image === undefined ? undefined : parseImageRequest(image),
    kernel: kernel === undefined ? undefined : parseKernelName(kernel),
    cpus: cpus === undefined ? undefined : cpusFlag(cpus),
    memoryMib: memory === undefined ? undefined : memoryFlag(memory),
    workDiskBytes: disk === undefined ? undefined : diskFlag(disk),
    network: oneOf("--network", VM_CHOICES.network, textOption(input, "network")),
    vmm: oneOf("--vmm", VM_CHOICES.vmm, textOption(input, "vmm")),
    rootDisk: oneOf("--root-disk", VM_CHOICES.rootDisk, textOption(input, "rootDisk")),
    ...networkRequest(input),
    transport: oneOf("BANGER_TRANSPORT", VM_CHOICES.transport, transport),
    environment: environmentFlag(listOption(input, "env")),
  };
  return Object.fromEntries(Object.entries(request).filter(([, value]) => value !== undefined));
}

/** The daemon has another working directory. */
export function requestedImage({ absolutePath }: Context, text: string | undefined): string | undefined {
  return text === undefined ? undefined : absoluteImageSource(text, absolutePath("").replace(/\/$/, ""));
}

export function cpusFlag(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw unusable(text, "--cpus", "it is no whole number");
  return within(VM_LIMITS.cpus, Number(text), text, "--cpus");
}

/** @returns MiB */
export function memoryFlag(text: string): number {
  return within(VM_LIMITS.memoryMib, Math.floor(sizeFlag("--memory", text) / MIB), text, "--memory");
}

/** @returns bytes */
export function diskFlag(text: string): number {
  return within(VM_LIMITS.workDiskBytes, sizeFlag("--disk", text), text, "--disk");
}

function sizeFlag(flag: string, text: string): number {
  try {
    return parseSizeBytes(text);
  } catch (thrown) {
    if (!(thrown instanceof BangerError)) throw thrown;
    throw new BangerError("invalid_argument", `${thrown.message} for ${flag}`, thrown.hint);
  }
}

function within(limits: Limits, value: number, text: string, flag: string): number {
  if (value < limits.min) throw unusable(text, flag, limits.tooSmall);
  if (value > limits.max) throw unusable(text, flag, limits.tooLarge);
  return value;
}

function oneOf<T extends string>(
  flag: string,
  choices: readonly T[],
  text: string | undefined,
): T | undefined {
  const chosen = choices.find((choice) => choice === text);
  if (text === undefined || chosen !== undefined) return chosen;
  throw unusable(text, flag, `it is none of ${choices.join(", ")}`);
}

function unusable(text: string, flag: string, why: string): BangerError {
  const message = `Cannot use ${quote(text)} for ${flag}: ${why}`;
  return new BangerError("invalid_argument", message, "See the usage: the same command with --help");
}

export function environmentFlag(pairs: readonly string[]): Record<string, string> | undefined {
  if (pairs.length === 0) return undefined;
  return Object.fromEntries(pairs.map((pair) => {
    const at = pair.indexOf("=");
    if (at < 1) throw unusable(pair, "--env", "it is not NAME=VALUE");
    const name = pair.slice(0, at);
    if (!ENVIRONMENT_NAME.test(name)) throw unusable(name, "--env", "a name is letters, digits and _");
    return [name, pair.slice(at + 1)];
  }));
}

/** The user's own identity, so that commits made in the VM are theirs. Without git or an identity there is none. */
export async function gitIdentityField({ processes }: Context): Promise<Pick<CreateVm, "gitIdentity">> {
  try {
    const { code, stdout } = await processes.run({
      program: "git",
      args: ["config", "--null", "--get-regexp", "^user\\.(name|email)$"],
    });
    if (code !== 0) return {};
    const values = new Map(
      stdout.split("\0").filter(Boolean).map((entry) => {
        const at = entry.indexOf("\n");
        return [entry.slice(0, at), entry.slice(at + 1)] as const;
      }),
    );
    const name = values.get("user.name");
    const email = values.get("user.email");
    return name && email ? { gitIdentity: { name, email } } : {};
  } catch (thrown) {
    if (thrown instanceof BangerError && thrown.code === "missing_tool") return {};
    throw thrown;
  }
}
