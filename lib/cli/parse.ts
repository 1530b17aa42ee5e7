import { Command as Commander, CommanderError, Option as CommanderOption } from "commander";
import type { Command, Input, Option } from "./command.ts";
import { COMMANDS, NOUNS } from "./commands/all.ts";

/** What the user's words come to: a command to run, or a text to print. */
export type Parsed =
  | { readonly kind: "run"; readonly command: Command; readonly input: Input }
  /** Help that was asked for, or a refusal; `exitCode` 0 goes to stdout, others to stderr. */
  | { readonly kind: "text"; readonly text: string; readonly exitCode: number };

const USAGE_EXIT_CODE = 2;

/** @param args what stands behind the program's name */
export function parseCommandLine(args: readonly string[]): Parsed {
  const separator = args.indexOf("--");
  const own = separator < 0 ? args : args.slice(0, separator);
  const trailing = separator < 0 ? undefined : args.slice(separator + 1);
  let parsed: Parsed | undefined;
  let text = "";
  const program = buildProgram(own, (command, input) => {
    parsed = trailing !== undefined && command.trailing === undefined
      ? refuseTrailing(command)
      : { kind: "run", command, input: trailing === undefined ? input : { ...input, trailing } };
  }, (chunk) => text += chunk);
  try {
    program.parse([...own], { from: "user" });
  } catch (thrown) {
    if (!(thrown instanceof CommanderError)) throw thrown;
    const exitCode = thrown.exitCode === 0 ? 0 : USAGE_EXIT_CODE;
    return { kind: "text", text: exitCode === 0 ? text : text.replace(/^error: /, "banger: "), exitCode };
  }
  return parsed ?? { kind: "text", text: program.helpInformation(), exitCode: USAGE_EXIT_CODE };
}

function refuseTrailing(command: Command): Parsed {
  const text = `banger: Cannot use what stands behind --: banger ${
    command.path.join(" ")
  } takes no command\n`;
  return { kind: "text", text, exitCode: USAGE_EXIT_CODE };
}

/** Every way to say a command, the proper one first. */
function pathsOf(command: Command): readonly (readonly string[])[] {
  return [command.path, ...(command.aliases ?? [])];
}

/** @param words of the command line: where they begin with a command's path, the others need not be described */
function buildProgram(
  words: readonly string[],
  chosen: (command: Command, input: Input) => void,
  write: (text: string) => void,
): Commander {
  const program = configured(new Commander("banger"), write)
    .description("Real Linux virtual machines from any image, in one command and without root");
  const nouns = new Map<string, Commander>();
  for (const [path, summary] of Object.entries(NOUNS)) {
    const names = path.split(" ");
    const parent = nouns.get(names.slice(0, -1).join(" ")) ?? program;
    nouns.set(path, configured(parent.command(names.at(-1)!), write).description(summary));
  }
  const meant = COMMANDS.filter((command) =>
    pathsOf(command).some((path) => path.every((word, at) => words[at] === word))
  );
  for (const command of COMMANDS) {
    const isDescribed = meant.length === 0 || meant.includes(command);
    for (const [index, path] of pathsOf(command).entries()) {
      const name = path.at(-1)!;
      const parent = path.length > 1 ? nouns.get(path.slice(0, -1).join(" "))! : program;
      const isHidden = command.hidden === true || (index > 0 && path.length > 1);
      const commander = parent.command(name, { hidden: isHidden });
      if (isDescribed) describe(configured(commander, write), command, chosen);
    }
  }
  return program;
}

function configured(command: Commander, write: (text: string) => void): Commander {
  return command
    .exitOverride()
    .configureOutput({ writeOut: write, writeErr: write })
    .showHelpAfterError("(add --help for the usage)")
    .helpCommand(command.name() === "banger")
    .helpOption("-h, --help", "show this help");
}

function describe(
  commander: Commander,
  command: Command,
  chosen: (command: Command, input: Input) => void,
): void {
  commander.summary(command.summary).description(command.details ?? command.summary);
  for (const { name, optional, repeated, summary } of command.arguments ?? []) {
    const inner = repeated ? `${name}...` : name;
    commander.argument(optional ? `[${inner}]` : `<${inner}>`, summary);
  }
  for (const option of command.options ?? []) commander.addOption(commanderOption(option));
  if (command.trailing) commander.usage(`${usageOf(command)} [-- ${command.trailing}]`);
  commander.action((...received: unknown[]) => {
    const words = received.slice(0, -2).flat() as (string | undefined)[];
    chosen(command, { arguments: words, options: commander.opts() });
  });
}

function usageOf(command: Command): string {
  const words = (command.arguments ?? []).map(({ name, optional }) => optional ? `[${name}]` : `<${name}>`);
  return ["[options]", ...words].join(" ");
}

function commanderOption({ flags, summary, repeated }: Option): CommanderOption {
  const option = new CommanderOption(flags, summary);
  return repeated
    ? option.argParser((
      value: string,
      previous: readonly string[] | undefined,
    ) => [...(previous ?? []), value])
    : option;
}
