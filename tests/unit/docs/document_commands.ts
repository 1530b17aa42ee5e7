/**
 * The commands that documents show: in fenced `sh` and `console` blocks, and in indented ones. They are run as they
 * stand there, by tests/host/cli/documents_test.ts. A comment before a block, which readers do not see, says which
 * of its commands need a VM, and so are run by tests/smoke/85_documents_test.ts, and why others are not run:
 *
 *     <!-- with VMs: `banger vm stats --watch` until Ctrl-C -->
 *     <!-- with VMs: `banger ssh-config install` agreed to -->
 *     <!-- with VMs: all of it -->
 *     <!-- not run: `banger dns install` changes the host's name server -->
 *
 * The first that fits a command counts.
 */
const root = new URL("../../..", import.meta.url).pathname;

/** How one that needs a VM comes to its end: by itself, by Ctrl-C once it has shown something, by a yes. */
export type Ending = "by itself" | "until Ctrl-C" | "agreed to";

export interface ShownCommand {
  readonly document: string;
  /** From 1. */
  readonly line: number;
  /** As the shell would get it, without its comment. */
  readonly text: string;
  /** Commands between two empty lines have the same one. */
  readonly paragraph: string;
  /** Commands of one block have the same one: a directory that was changed to stays so. */
  readonly block: string;
  /** Why it is not run; undefined where it is. */
  readonly notRun?: string;
  /** Of one that needs a VM. */
  readonly withVms?: Ending;
}

interface Mark {
  readonly kind: "not run" | "with VMs";
  /** What the command begins with; empty for the whole block. */
  readonly prefix: string;
  /** Why it is not run, or how it ends. */
  readonly note: string;
  readonly line: number;
}

export interface DocumentCommands {
  readonly commands: readonly ShownCommand[];
  /** Marks that match no command, or say what no mark says: the document has changed below them. */
  readonly staleMarks: readonly string[];
}

const MARK = /^<!-- (not run|with VMs): (?:`([^`]+)`|all of it)(?: (.+))? -->$/;
const ENDINGS: readonly string[] = ["by itself", "until Ctrl-C", "agreed to"] satisfies Ending[];
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
  let [block, paragraph, previous] = ["", "", 0];
  const endBlock = () => {
    staleMarks.push(...marks.filter((mark) => !used.has(mark)).map((mark) => `${document}:${mark.line}`));
    [marks, used, isInside] = [[], new Set(), false];
  };
  const add = (shown: string, line: number) => {
    const command = withoutComment(shown);
    if (command === "") return;
    if (!isInside) block = `${document}:${line}`;
    isInside = true;
    if (line !== previous + 1) paragraph = `${document}:${line}`;
    previous = line;
    const mark = marks.find(({ prefix }) => command.startsWith(prefix));
    if (mark) used.add(mark);
    commands.push({ document, line, text: command, paragraph, block, ...howToRun(mark) });
  };
  for (const [index, line] of text.split("\n").entries()) {
    const found = MARK.exec(line);
    const opened = /^```(\w*)$/.exec(line);
    if (found && fence === undefined) {
      const [, kind, prefix = "", note = kind === "with VMs" ? "by itself" : ""] = found;
      const mark = { kind: kind as Mark["kind"], prefix, note, line: index + 1 };
      if (kind === "with VMs" ? ENDINGS.includes(note) : note !== "") marks.push(mark);
      else staleMarks.push(`${document}:${mark.line}`);
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

function howToRun(mark: Mark | undefined): Pick<ShownCommand, "notRun" | "withVms"> {
  if (!mark) return {};
  return mark.kind === "not run" ? { notRun: mark.note } : { withVms: mark.note as Ending };
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
