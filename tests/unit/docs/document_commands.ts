/**
 * The commands that documents show: in fenced `sh` and `console` blocks, and in indented ones. What is not run by
 * tests/host/cli/documents_test.ts says why in a comment before its block, which readers do not see:
 *
 *     <!-- not run: `banger vm ssh web` is a shell on a terminal -->
 *     <!-- not run: all of it needs root -->
 */
const root = new URL("../../..", import.meta.url).pathname;

export interface ShownCommand {
  readonly document: string;
  /** From 1. */
  readonly line: number;
  /** As the shell would get it, without its comment. */
  readonly text: string;
  /** Why it is not run; undefined where it is. */
  readonly notRun?: string;
}

interface Mark {
  /** What the command begins with; empty for the whole block. */
  readonly prefix: string;
  readonly reason: string;
  readonly line: number;
}

export interface DocumentCommands {
  readonly commands: readonly ShownCommand[];
  /** Marks that match no command: the document has changed below them. */
  readonly staleMarks: readonly string[];
}

const MARK = /^<!-- not run: (?:`([^`]+)`|all of it) (.+) -->$/;
const INDENTED = /^ {4}((?:banger|deno|\.\/scripts|cd) .*)$/;

export async function documentNames(): Promise<string[]> {
  const names = await Array.fromAsync(Deno.readDir(`${root}docs`));
  return [
    "README.md",
    ...names.map(({ name }) => `docs/${name}`).filter((name) => name.endsWith(".md")).sort(),
  ];
}

export async function readDocument(name: string): Promise<string> {
  return await Deno.readTextFile(`${root}${name}`);
}

/** @param document its name, for messages */
export function commandsOf(document: string, text: string): DocumentCommands {
  const commands: ShownCommand[] = [];
  const staleMarks: string[] = [];
  let marks: Mark[] = [];
  let used = new Set<Mark>();
  let fence: string | undefined;
  let isInside = false;
  const endBlock = () => {
    staleMarks.push(...marks.filter((mark) => !used.has(mark)).map((mark) => `${document}:${mark.line}`));
    [marks, used, isInside] = [[], new Set(), false];
  };
  const add = (shown: string, line: number) => {
    const command = withoutComment(shown);
    if (command === "") return;
    isInside = true;
    const mark = marks.find(({ prefix }) => command.startsWith(prefix));
    if (mark) used.add(mark);
    commands.push({ document, line, text: command, ...(mark ? { notRun: mark.reason } : {}) });
  };
  for (const [index, line] of text.split("\n").entries()) {
    const found = MARK.exec(line);
    const opened = /^```(\w*)$/.exec(line);
    if (found && fence === undefined) {
      marks.push({ prefix: found[1] ?? "", reason: found[2]!, line: index + 1 });
    } else if (opened) {
      if (fence !== undefined) endBlock();
      fence = fence === undefined ? opened[1]! : undefined;
    } else if (fence === "sh") add(line, index + 1);
    else if (fence === "console") line.startsWith("$ ") && add(line.slice(2), index + 1);
    else if (fence === undefined && INDENTED.test(line)) add(line.trim(), index + 1);
    else if (fence === undefined && isInside && line !== "" && !line.startsWith("    ")) endBlock();
  }
  endBlock();
  return { commands, staleMarks };
}

/** What stands behind a `#` that begins a word, outside quotes. */
function withoutComment(line: string): string {
  let quote = "";
  for (const [index, char] of [...line].entries()) {
    if (quote !== "") quote = char === quote ? "" : quote;
    else if (char === "'" || char === '"') quote = char;
    else if (char === "#" && (index === 0 || line[index - 1] === " ")) return line.slice(0, index).trim();
  }
  return line.trim();
}

/** Words of the shell, far enough for documents: quotes, and the operators between commands. */
function shellWords(text: string): string[] {
  const words = text.match(/(?:"[^"]*"|'[^']*'|[^\s"'|&]|&(?!&))+|&&|\|/g) ?? [];
  return words.map((word) => word.replaceAll(/"([^"]*)"|'([^']*)'/g, "$1$2"));
}

/** The arguments of every `banger` in a line: behind `&&` and `|`, and in `$(…)`. */
export function bangerArguments(text: string): string[][] {
  const substituted = [...text.matchAll(/\$\(([^)]*)\)/g)].map(([, inner]) => inner!);
  const found: string[][] = [];
  for (const line of [text, ...substituted]) {
    let current: string[] = [];
    for (const word of [...shellWords(line), "&&"]) {
      if (word !== "&&" && word !== "|") current.push(word);
      else {
        if (current[0] === "banger") found.push(current.slice(1));
        current = [];
      }
    }
  }
  return found;
}
