/**
 * The command line's reference, derived from the values that the command line itself is made of: docs/cli.md and
 * the manual pages.
 *
 * deno task reference    writes docs/cli.md; a unit test says when it is out of date
 */
import type { Command } from "../lib/cli/command.ts";
import { COMMANDS, NOUNS } from "../lib/cli/commands/all.ts";
import { ERRORS } from "../lib/base/errors.ts";

const CLI_DOCUMENT = new URL("../docs/cli.md", import.meta.url).pathname;

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

/** @returns docs/cli.md */
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

if (import.meta.main) await Deno.writeTextFile(CLI_DOCUMENT, cliDocument());
