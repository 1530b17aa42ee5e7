import { parse, stringify, TomlError } from "smol-toml";
import { MASK, type Masking } from "./masking.ts";

type Toml = Parameters<typeof stringify>[0];

/** Settings whose text says nothing about a person or a secret; of all others only the name is shown. */
const PLAIN_TABLES: Readonly<Record<string, readonly string[]>> = {
  defaults: ["image", "kernel", "cpus", "memory", "disk", "network", "root_disk"],
  vmm: ["driver", "firecracker", "jailer"],
  disks: ["reserve"],
  agents: ["credentials"],
  network: ["allow", "dns_port"],
  trash: ["keep"],
  registries: ["insecure", "mirrors"],
};

/** Makes every value below known as a secret. */
export function addAll(masking: Masking, value: unknown): void {
  if (typeof value === "string") masking.add(value);
  else if (typeof value === "object" && value !== null) {
    for (const inner of Object.values(value)) addAll(masking, inner);
  }
}

/**
 * The configuration as it may be shown: written anew, so that no comment comes along, with the values of plain
 * settings only. What it hides becomes known to `masking`.
 *
 * @returns undefined where it is no TOML: then nobody can say which part of it is a value
 */
export function maskedConfig(text: string, masking: Masking): string | undefined {
  let document: Record<string, unknown>;
  try {
    document = parse(text);
  } catch (thrown) {
    if (thrown instanceof TomlError) return undefined;
    throw thrown;
  }
  const shown: Record<string, unknown> = {};
  for (const [table, value] of Object.entries(document)) {
    const plain = PLAIN_TABLES[table];
    if (plain === undefined || typeof value !== "object" || value === null || Array.isArray(value)) {
      shown[table] = hidden(value, masking);
      continue;
    }
    shown[table] = Object.fromEntries(
      Object.entries(value).map((
        [key, inner],
      ) => [key, plain.includes(key) ? inner : hidden(inner, masking)]),
    );
  }
  return masking.text(stringify(shown as Toml));
}

/** Names stay, values go. */
function hidden(value: unknown, masking: Masking): unknown {
  if (Array.isArray(value)) return value.map((inner) => hidden(inner, masking));
  if (typeof value === "object" && value !== null && !(value instanceof Date)) {
    return Object.fromEntries(
      Object.entries(value).map(([key, inner]) => [key, hidden(inner, masking)]),
    );
  }
  if (typeof value === "string") masking.add(value);
  return MASK;
}
