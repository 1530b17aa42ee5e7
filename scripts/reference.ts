/**
 * Documents that are derived from the code: docs/cli.md and the manual pages from the values that the command line
 * itself is made of, the table of settings in docs/configuration.md from the schema of config.toml.
 *
 * deno task reference [--check]    writes them, or says which are out of date
 */
import type { Command } from "../lib/cli/command.ts";
import { COMMANDS, NOUNS } from "../lib/cli/commands/all.ts";
import { ERRORS } from "../lib/base/errors.ts";
import { withSettingsTable } from "./reference/settings.ts";

const root = new URL("..", import.meta.url).pathname;

function visibleCommands(): readonly Command[] {
  return COMMANDS.filter(({ hidden }) => hidden !== true);
}

function usage(command: Command): string {
  const words = (command.arguments ?? []).map(({ name, optional, repeated }) => {
    const word = repeated ? `${name}…` : name;
    return optional ? `[${word}]` : `<${word}>`;
  });
  const options = command.options?.length ? ["[options]"] : [];
  const trailing = command.trailing === undefined ? [] : [`[-- ${command.trailing}]`];
  return ["banger", ...command.path, ...options, ...words, ...trailing].join(" ");
}

function section(command: Command): string {
  const { path, aliases = [], summary, details, options = [] } = command;
  const others = aliases.map((alias) => `\`banger ${alias.join(" ")}\``);
  const parameters = (command.arguments ?? []).map(({ name, summary }) => [name, summary] as const);
  const rows = [...parameters, ...options.map(({ flags, summary }) => [flags, summary] as const)];
  const width = Math.max(0, ...rows.map(([left]) => left.length));
  return [
    `### banger ${path.join(" ")}`,
    "",
    `${summary.charAt(0).toUpperCase()}${summary.slice(1)}.${
      others.length > 0 ? ` Also: ${others.join(", ")}.` : ""
    }`,
    "",
    "```text",
    usage(command),
    ...(rows.length > 0 ? ["", ...rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`)] : []),
    ...(details === undefined ? [] : ["", ...details.split("\n").map((line) => line.trimEnd())]),
    "```",
    "",
  ].join("\n");
}

function exitCodes(): string {
  const byCode = new Map<number, string[]>();
  for (const [code, { exit }] of Object.entries(ERRORS)) {
    byCode.set(exit, [...(byCode.get(exit) ?? []), `\`${code}\``]);
  }
  const rows = [...byCode].sort(([a], [b]) => a - b);
  return rows.map(([exit, codes]) => `- ${exit}: ${codes.join(", ")}`).join("\n");
}

/** @returns docs/cli.md. Exported for tests. */
export function cliDocument(): string {
  const groups = new Map<string, Command[]>(Object.keys(NOUNS).map((noun) => [noun, []]));
  const others: Command[] = [];
  for (const command of visibleCommands()) {
    (groups.get(command.path.length > 1 ? command.path[0]! : "") ?? others).push(command);
  }
  const parts = [...groups].filter(([, commands]) => commands.length > 0).map(([noun, commands]) =>
    `## banger ${noun}: ${NOUNS[noun]}\n\n${commands.map(section).join("\n")}`
  );
  return [
    "# Command reference",
    "",
    "Made by `deno task reference` from the commands themselves. Every command has `--help`.",
    "",
    ...parts,
    `## Others\n\n${others.map(section).join("\n")}`,
    "## Exit codes",
    "",
    "0 is success; a command that ran in a guest gives its own. Else, by what went wrong:",
    "",
    exitCodes(),
    "",
  ].join("\n");
}

/** Backslashes, dashes and leading dots mean something to roff. */
function roff(text: string): string {
  return text.replaceAll("\\", "\\e").replaceAll("-", "\\-").replaceAll(/^([.'])/gm, "\\&$1");
}

function manualPage(command: Command, { version, date }: { version: string; date: string }): string {
  const name = ["banger", ...command.path].join("-");
  const rows = [
    ...(command.arguments ?? []).map(({ name, summary }) => [name, summary] as const),
    ...(command.options ?? []).map(({ flags, summary }) => [flags, summary] as const),
  ];
  return [
    `.TH "${name.toUpperCase()}" "1" "${date}" "banger ${version}" "banger"`,
    ".SH NAME",
    `${roff(name)} \\- ${roff(command.summary)}`,
    ".SH SYNOPSIS",
    roff(usage(command)),
    ...(command.details === undefined ? [] : [".SH DESCRIPTION", ".nf", roff(command.details), ".fi"]),
    ...(rows.length === 0 ? [] : [".SH OPTIONS"]),
    ...rows.flatMap(([left, right]) => [".TP", `.B ${roff(left)}`, roff(right)]),
    ".SH SEE ALSO",
    "\\fBbanger\\fR(1)",
    "",
  ].join("\n");
}

/** @returns pages by file name */
export function manualPages(stamp: { version: string; date: string }): Map<string, string> {
  const commands = visibleCommands();
  const pages = new Map(
    commands.map((command) => [`${["banger", ...command.path].join("-")}.1`, manualPage(command, stamp)]),
  );
  pages.set(
    "banger.1",
    [
      `.TH "BANGER" "1" "${stamp.date}" "banger ${stamp.version}" "banger"`,
      ".SH NAME",
      "banger \\- real Linux virtual machines from any image, in one command and without root",
      ".SH SYNOPSIS",
      "banger <command> [options]",
      ".SH COMMANDS",
      ...commands.flatMap((command) => [
        ".TP",
        `.BR ${roff(["banger", ...command.path].join("-"))} (1)`,
        roff(command.summary),
      ]),
      "",
    ].join("\n"),
  );
  return pages;
}

/** As `deno fmt` leaves it, so that writing and checking agree. */
async function formatted(markdown: string): Promise<string> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--ext", "md", "-"],
    cwd: root,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const output = child.output();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(markdown));
  await writer.close();
  const { code, stdout, stderr } = await output;
  if (code !== 0) throw new Error(new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

async function readDocument(path: string): Promise<string> {
  return await Deno.readTextFile(`${root}${path}`).catch(() => "");
}

/** @returns the paths of those that were out of date */
async function writeReferences({ isCheck }: { isCheck: boolean }): Promise<string[]> {
  const configuration = "docs/configuration.md";
  const wanted = new Map([
    ["docs/cli.md", await formatted(cliDocument())],
    [configuration, await formatted(withSettingsTable(await readDocument(configuration)))],
  ]);
  const stale: string[] = [];
  for (const [path, text] of wanted) {
    if (await readDocument(path) === text) continue;
    stale.push(path);
    if (!isCheck) await Deno.writeTextFile(`${root}${path}`, text);
  }
  return stale;
}

if (import.meta.main) {
  const isCheck = Deno.args.includes("--check");
  const stale = await writeReferences({ isCheck });
  if (isCheck && stale.length > 0) {
    console.error(`${stale.join(", ")}: not what the code says. Run: deno task reference`);
    Deno.exit(1);
  }
}
