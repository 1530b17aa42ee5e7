/** The table of settings in docs/configuration.md, from the schema that reads `config.toml`. */
import { z } from "zod";
import { parseConfig } from "../../lib/config/read.ts";
import { settings } from "../../lib/config/effective.ts";
import { configSchema } from "../../lib/config/schema.ts";

const BEGIN = "<!-- settings -->";
const END = "<!-- /settings -->";

interface JsonSchema {
  readonly type?: string;
  readonly description?: string;
  readonly enum?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly items?: JsonSchema;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly additionalProperties?: boolean | JsonSchema;
}

/** What may be written there, in short. */
function takes(schema: JsonSchema): string {
  if (schema.enum) return schema.enum.map((word) => `\`"${word}"\``).join(", ");
  if (schema.type === "array") return schema.items?.type === "object" ? "tables" : "list";
  if (schema.type === "object") return "table";
  if (schema.type === "boolean") return "`true`, `false`";
  if (schema.minimum !== undefined) return `${schema.minimum} to ${schema.maximum}`;
  return "text";
}

/** Every key that a user can set, outer tables resolved: `defaults.cpus`. */
function keysOf(schema: JsonSchema, prefix = ""): (readonly [string, JsonSchema])[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, inner]) =>
    inner.properties === undefined
      ? [[`${prefix}${name}`, inner] as const]
      : keysOf(inner, `${prefix}${name}.`)
  );
}

function builtIn(): Map<string, string> {
  const parsed = parseConfig("");
  if ("problems" in parsed) throw new Error("an empty configuration has problems");
  return new Map(
    settings(parsed.config, new Map()).map(({ path, value }) => [path.join("."), JSON.stringify(value)]),
  );
}

/** @throws {Error} for a key without a description */
function settingsTable(): string {
  const schema = z.toJSONSchema(configSchema, { io: "input", unrepresentable: "any" }) as JsonSchema;
  const values = builtIn();
  const rows = keysOf(schema).map(([key, inner]) => {
    if (inner.description === undefined) throw new Error(`lib/config/schema.ts: ${key} has no description`);
    const value = values.get(key);
    return `| \`${key}\` | ${takes(inner)} | ${
      value === undefined ? "" : `\`${value}\``
    } | ${inner.description} |`;
  });
  return ["| key | takes | built in | means |", "| --- | --- | --- | --- |", ...rows].join("\n");
}

/** @param document with the markers that the table stands between */
export function withSettingsTable(document: string): string {
  const [begin, end] = [document.indexOf(BEGIN), document.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`docs/configuration.md has no ${BEGIN} … ${END}`);
  return `${document.slice(0, begin + BEGIN.length)}\n\n${settingsTable()}\n\n${document.slice(end)}`;
}
