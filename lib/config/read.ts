import { parse, TomlError } from "smol-toml";
import { z } from "zod";
import { BangerError } from "../base/errors.ts";
import type { Files } from "../base/host.ts";
import { quote } from "../base/names.ts";
import { type ConfigFile, configSchema } from "./schema.ts";
import { pathKey, tomlLines } from "./toml_lines.ts";

const MAX_CONFIG_BYTES = 1024 * 1024;

/** What is wrong with a configuration, and where. */
export interface ConfigProblem {
  /** From 1; undefined where the document as a whole is meant. */
  readonly line?: number;
  /** `defaults.cpus`; undefined where it is no TOML. */
  readonly key?: string;
  readonly message: string;
  readonly hint?: string;
}

export type ParsedConfig =
  | { readonly config: ConfigFile; readonly lines: ReadonlyMap<string, number> }
  | { readonly problems: readonly ConfigProblem[] };

/**
 * Checks a configuration's text. Nothing that a user wrote is ignored: what is no TOML, unknown keys and bad
 * values are problems, each with its line.
 */
export function parseConfig(text: string): ParsedConfig {
  let document: unknown;
  try {
    document = parse(text);
  } catch (thrown) {
    if (!(thrown instanceof TomlError)) throw thrown;
    const [first = ""] = thrown.message.split("\n");
    return {
      problems: [{
        line: thrown.line,
        message: `it is no TOML: ${first.replace("Invalid TOML document: ", "")}`,
      }],
    };
  }
  const lines = tomlLines(text);
  const result = configSchema.safeParse(document);
  if (result.success) return { config: result.data, lines };
  const problems = result.error.issues.flatMap((issue) => problemsOf(issue, lines));
  return { problems: problems.sort((a, b) => (a.line ?? 0) - (b.line ?? 0)) };
}

/**
 * Reads the user's configuration; a missing file is an empty one.
 *
 * @throws {BangerError} `invalid_argument` naming line and key of the first problem
 */
export async function readConfig(
  files: Pick<Files, "stat" | "readText">,
  path: string,
): Promise<ConfigFile> {
  const parsed = parseConfig(await readConfigText(files, path) ?? "");
  if ("config" in parsed) return parsed.config;
  throw configError(path, parsed.problems);
}

/** @returns undefined where there is no file */
export async function readConfigText(
  files: Pick<Files, "stat" | "readText">,
  path: string,
): Promise<string | undefined> {
  return await files.stat(path) === undefined ? undefined : await files.readText(path, MAX_CONFIG_BYTES);
}

/** The refusal of a configuration with problems, of which there is at least one. */
export function configError(path: string, problems: readonly ConfigProblem[]): BangerError {
  const [first] = problems;
  const others = problems.length - 1;
  const hints = [first?.hint, others > 0 ? `There is more (${others}): banger config check` : undefined];
  return new BangerError(
    "invalid_argument",
    `Cannot use ${path}: ${first === undefined ? "it is not valid" : problemText(first)}`,
    hints.filter((hint) => hint !== undefined).join(". ") || `See docs/configuration.md, or mend the file`,
  );
}

/** @returns `line 3: defaults.cpus: expected number, received string` */
export function problemText({ line, key, message }: ConfigProblem): string {
  return [line === undefined ? undefined : `line ${line}`, key, message].filter(Boolean).join(": ");
}

function problemsOf(issue: z.core.$ZodIssue, lines: ReadonlyMap<string, number>): ConfigProblem[] {
  const path = issue.path.map((part) => typeof part === "number" ? part : String(part));
  if (issue.code !== "unrecognized_keys") {
    // A missing key stands nowhere: its table does.
    const message = issue.message.replace(/^Invalid input: /, "").replace(
      /^.* received undefined$/,
      "it is missing",
    );
    return [{ ...placeOf(path, lines), ...keyOf(path), message }];
  }
  const known = knownKeys(configSchema, path);
  return issue.keys.map((name) => ({
    ...placeOf([...path, name], lines),
    ...keyOf([...path, name]),
    message: "there is no such key",
    hint: `${path.length === 0 ? "The tables are" : `[${path.filter(isName).join(".")}] knows`}: ${
      known.join(", ")
    }`,
  }));
}

/** The nearest place that is written: a missing key has none of its own. */
function placeOf(path: readonly (string | number)[], lines: ReadonlyMap<string, number>): { line?: number } {
  for (let length = path.length; length > 0; length--) {
    const line = lines.get(pathKey(path.slice(0, length)));
    if (line !== undefined) return { line };
  }
  return {};
}

function keyOf(path: readonly (string | number)[]): { key?: string } {
  if (path.length === 0) return {};
  const shown = path.map((part) =>
    isName(part) && !/^[A-Za-z0-9_-]+$/.test(part) ? quote(part) : String(part)
  );
  return { key: shown.join(".") };
}

function isName(part: string | number): part is string {
  return typeof part === "string";
}

/** The keys of the table at `path`. */
function knownKeys(schema: unknown, path: readonly (string | number)[]): string[] {
  let current = unwrapped(schema);
  for (const part of path) {
    if (current instanceof z.ZodArray) current = unwrapped(current.element);
    else if (current instanceof z.ZodObject) current = unwrapped(current.shape[String(part)]);
  }
  return current instanceof z.ZodObject ? Object.keys(current.shape) : [];
}

function unwrapped(schema: unknown): unknown {
  let current = schema;
  while (current instanceof z.ZodDefault || current instanceof z.ZodOptional) current = current.unwrap();
  return current;
}
