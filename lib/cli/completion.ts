import type { Argument, Command, Completes, Option } from "./command.ts";

/** What stands behind one place of a command line. */
export interface Candidate {
  readonly text: string;
  /** Shells that can show it beside the text. */
  readonly summary?: string;
  /** More is to follow in the same word: no space behind it. */
  readonly isOpen?: boolean;
}

export interface Completion {
  readonly candidates: readonly Candidate[];
  /** The shell's own completion of files is wanted, too. */
  readonly wantsFiles: boolean;
}

/** Asks for names; may be slow, and is asked only where they are needed. */
export type FindNames = (what: Exclude<Completes, "file">) => Promise<readonly Candidate[]>;

const NOTHING: Completion = { candidates: [], wantsFiles: false };
const HELP: Option = { flags: "-h, --help", summary: "show this help" };

/**
 * What can stand at the end of a command line, derived from the command values.
 *
 * @param words behind the program's name; the last one is being written, and may be empty
 */
export async function complete(
  commands: readonly Command[],
  nouns: Readonly<Record<string, string>>,
  words: readonly string[],
  findNames: FindNames,
): Promise<Completion> {
  const current = words.at(-1) ?? "";
  const before = words.slice(0, -1);
  if (before.includes("--")) return NOTHING;
  const found = findCommand(commands, before);
  if (!found) return starting(verbs(commands, nouns, before), current);
  const { command, rest } = found;
  const options = [...(command.options ?? []), HELP];
  const open = openOption(options, rest);
  if (open) return await valuesOf(open, current, findNames);
  const inline = /^(--[^=]+)=(.*)$/s.exec(current);
  if (inline) return await inlineValue(options, inline[1]!, inline[2]!, findNames);
  if (current.startsWith("-")) return starting(optionCandidates(command, options, rest), current);
  const argument = argumentAt(command, positionals(options, rest).length);
  if (argument?.choices) return starting(argument.choices.map((text) => ({ text })), current);
  if (!argument?.completes) return NOTHING;
  return await namesOf(argument.completes, current, findNames, positionals(options, rest));
}

/** The command that the words begin with, and the words behind its path. */
function findCommand(
  commands: readonly Command[],
  words: readonly string[],
): { command: Command; rest: readonly string[] } | undefined {
  for (const length of [3, 2, 1]) {
    const path = words.slice(0, length).join(" ");
    if (words.length < length) continue;
    const command = commands.find((one) => pathsOf(one).some((own) => own.join(" ") === path));
    if (command) return { command, rest: words.slice(length) };
  }
  return undefined;
}

function pathsOf(command: Command): readonly (readonly string[])[] {
  return [command.path, ...(command.aliases ?? [])];
}

/** What may follow where no command is complete yet: nouns and short cuts, or the verbs of a noun. */
function verbs(
  commands: readonly Command[],
  nouns: Readonly<Record<string, string>>,
  before: readonly string[],
): Candidate[] {
  const next = (path: readonly string[], summary: string): Candidate[] => {
    const isBelow = path.length === before.length + 1 && before.every((word, index) => word === path[index]);
    return isBelow ? [{ text: path.at(-1)!, summary }] : [];
  };
  const shown = commands.filter(({ hidden }) => !hidden);
  return [
    ...Object.entries(nouns).flatMap(([words, summary]) => next(words.split(" "), summary)),
    // Of several ways to say a command below a noun the first is offered; short cuts are all.
    ...shown.flatMap((command) =>
      (before.length === 0 ? pathsOf(command) : [command.path]).flatMap((path) => next(path, command.summary))
    ),
    ...(before.length === 0 ? [{ text: "help", summary: "show help" }] : []),
  ];
}

/** @returns the long and the short flag, and whether it takes a value. Exported for tests. */
export function parseFlags(flags: string): { names: readonly string[]; takesValue: boolean } {
  const names = flags.split(/[ ,|]+/).filter((word) => word.startsWith("-"));
  return { names, takesValue: /[<[]/.test(flags) };
}

/** The option whose value is being written as a word of its own. */
function openOption(options: readonly Option[], rest: readonly string[]): Option | undefined {
  const last = rest.at(-1);
  if (last === undefined) return undefined;
  return options.find(({ flags }) => {
    const { names, takesValue } = parseFlags(flags);
    return takesValue && names.includes(last);
  });
}

async function valuesOf(option: Option, current: string, findNames: FindNames): Promise<Completion> {
  if (option.choices) return starting(option.choices.map((text) => ({ text })), current);
  return option.completes ? await namesOf(option.completes, current, findNames, []) : NOTHING;
}

/** `--flag=va` */
async function inlineValue(
  options: readonly Option[],
  name: string,
  value: string,
  findNames: FindNames,
): Promise<Completion> {
  const option = options.find(({ flags }) => parseFlags(flags).names.includes(name));
  if (!option) return NOTHING;
  const { candidates } = await valuesOf(option, value, findNames);
  return {
    candidates: candidates.map((candidate) => ({ ...candidate, text: `${name}=${candidate.text}` })),
    wantsFiles: false,
  };
}

function optionCandidates(
  command: Command,
  options: readonly Option[],
  rest: readonly string[],
): Candidate[] {
  const candidates = options.filter(({ repeated, flags }) => {
    return repeated || !parseFlags(flags).names.some((name) => rest.includes(name));
  }).map(({ flags, summary }) => ({ text: parseFlags(flags).names.at(-1)!, summary }));
  return command.trailing
    ? [...candidates, { text: "--", summary: `then: ${command.trailing}` }]
    : candidates;
}

/** The words that are neither options nor their values. */
function positionals(options: readonly Option[], rest: readonly string[]): string[] {
  return rest.filter((word, index) => {
    if (word.startsWith("-") && word !== "-") return false;
    return openOption(options, rest.slice(0, index)) === undefined;
  });
}

function argumentAt({ arguments: all = [] }: Command, index: number): Argument | undefined {
  const last = all.at(-1);
  return all[index] ?? (last?.repeated ? last : undefined);
}

/** @param taken given already, and not offered again */
async function namesOf(
  what: Completes,
  current: string,
  findNames: FindNames,
  taken: readonly string[],
): Promise<Completion> {
  if (what === "file") return { candidates: [], wantsFiles: true };
  // Behind the colon is a path in the guest, which is not looked at.
  if (what === "vm-path" && current.includes(":")) return NOTHING;
  const names = (await findNames(what)).filter(({ text }) => !taken.includes(text));
  const { candidates } = starting(names, current);
  if (what !== "vm-path") return { candidates, wantsFiles: false };
  return {
    candidates: candidates.map((one) => ({ ...one, text: `${one.text}:`, isOpen: true })),
    wantsFiles: true,
  };
}

function starting(candidates: readonly Candidate[], start: string): Completion {
  return { candidates: candidates.filter(({ text }) => text.startsWith(start)), wantsFiles: false };
}
