import { VM_DEFAULTS } from "../base/vm_defaults.ts";
import { MIB } from "../base/units.ts";
import type { ConfigFile } from "./schema.ts";
import { pathKey } from "./toml_lines.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
/** How long a removed VM can be brought back. */
export const TRASH_KEEP_MS = 7 * DAY_MS;

/** One setting as it holds now. */
export interface Setting {
  /** The names that lead to it: `["defaults", "cpus"]`. */
  readonly path: readonly string[];
  /** As the file would have it. */
  readonly value: unknown;
  /** Where the file has it; undefined where it is built in. */
  readonly line?: number;
}

/** Every setting that has a value, the file's or the built-in one, in the order of docs/configuration.md. */
export function settings(config: ConfigFile, lines: ReadonlyMap<string, number>): Setting[] {
  const { defaults, vmm, disks, network, trash, registries } = config;
  const all: [string[], unknown][] = [
    // Keys of no table come before the first one.
    [["file_sync"], config.file_sync],
    [["defaults", "image"], defaults.image ?? VM_DEFAULTS.image],
    [["defaults", "kernel"], defaults.kernel ?? VM_DEFAULTS.kernel],
    [["defaults", "cpus"], defaults.cpus ?? VM_DEFAULTS.cpus],
    [["defaults", "memory"], sizeText((defaults.memory ?? VM_DEFAULTS.memoryMib) * MIB)],
    [["defaults", "disk"], sizeText(defaults.disk ?? VM_DEFAULTS.workDiskBytes)],
    [["defaults", "network"], defaults.network ?? VM_DEFAULTS.network],
    ...(defaults.root_disk === undefined
      ? []
      : [[["defaults", "root_disk"], defaults.root_disk] as [string[], unknown]]),
    ...Object.entries(defaults.environment ?? {}).map(([name, value]): [string[], unknown] => [
      ["defaults", "environment", name],
      value,
    ]),
    ...Object.entries(vmm).map(([name, value]): [string[], unknown] => [["vmm", name], value]),
    [["disks", "reserve"], sizeText(disks.reserve ?? VM_DEFAULTS.reserveBytes)],
    [["agents", "credentials"], config.agents.credentials],
    ...Object.entries(config.acp).map(([name, value]): [string[], unknown] => [["acp", name], value]),
    [["network", "allow"], network.allow],
    [["network", "dns_port"], network.dns_port],
    [["trash", "keep"], durationText(trash.keep ?? TRASH_KEEP_MS)],
    [["registries", "insecure"], registries.insecure],
    [["registries", "mirrors"], registries.mirrors],
  ];
  return all.map(([path, value]) => {
    const line = lines.get(pathKey(path));
    return line === undefined ? { path, value } : { path, value, line };
  });
}

/** The settings as TOML that could stand in the file, with where each comes from. */
export function renderSettings(all: readonly Setting[]): string {
  const out: string[] = [];
  let table = "";
  for (const { path, value, line } of all) {
    const own = path.slice(0, -1).map(tomlName).join(".");
    if (own !== table) out.push(...(out.length > 0 ? [""] : []), `[${own}]`);
    table = own;
    const origin = line === undefined ? "built in" : `line ${line}`;
    out.push(`${tomlName(path.at(-1)!)} = ${tomlValue(value)}  # ${origin}`);
  }
  return out.join("\n");
}

function tomlName(name: string): string {
  return /^[A-Za-z0-9_-]+$/.test(name) ? name : tomlString(name);
}

function tomlValue(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(tomlValue).join(", ")}]`;
  if (typeof value === "string") return tomlString(value);
  if (typeof value === "object" && value !== null) {
    const pairs = Object.entries(value).map(([name, one]) => `${tomlName(name)} = ${tomlValue(one)}`);
    return `{ ${pairs.join(", ")} }`;
  }
  return String(value);
}

/** TOML's basic strings know JSON's escapes, but for the slash, which JSON.stringify never writes. */
function tomlString(text: string): string {
  return JSON.stringify(text).replaceAll("\u007f", "\\u007f");
}

/** As sizes are written: `2G`, `1536M`, plain bytes where neither fits. */
function sizeText(bytes: number): string {
  for (const [unit, factor] of [["T", 1024 ** 4], ["G", 1024 ** 3], ["M", MIB]] as const) {
    if (bytes % factor === 0) return `${bytes / factor}${unit}`;
  }
  return `${bytes}b`;
}

function durationText(ms: number): string {
  if (ms === 0) return "0";
  for (const [unit, factor] of [["d", DAY_MS], ["h", 3_600_000], ["m", 60_000]] as const) {
    if (ms % factor === 0) return `${ms / factor}${unit}`;
  }
  return `${ms / 1000}s`;
}
