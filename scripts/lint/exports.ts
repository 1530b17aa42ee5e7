/**
 * Exports that nothing uses. Others' files are users; a test is one only where the docstring says "Exported for
 * tests"; a type also by what else stands in its file.
 */
import { dirname, join } from "node:path";

/** One file, by its path in the checkout. */
export interface Source {
  readonly path: string;
  readonly text: string;
}

interface Export {
  readonly name: string;
  readonly isType: boolean;
  /** The docstring right before it. */
  readonly says: string;
}

const DECLARATION =
  /(?:\/\*\*((?:[^*]|\*(?!\/))*)\*\/\s*)?^export (?:declare )?(?:abstract )?(async function\*?|function\*?|const|let|class|interface|type|enum) (\w+)/gm;
const NAMED = /\b(?:import|export)\s+(?:type\s+)?(?:\w+\s*,\s*)?\{([^}]*)\}\s*from\s*"(\.[^"]+)"/g;
const WHOLE = /\b(?:import|export)\s+(?:type\s+)?\*(?:\s+as\s+\w+)?\s+from\s*"(\.[^"]+)"/g;
const LATE_NAMED = /const\s*\{([^}]*)\}\s*=\s*await import\(\s*"(\.[^"]+)"/g;
const LATE_WHOLE = /\bimport\(\s*"(\.[^"]+)"\s*\)/g;

function exportsOf({ text }: Source): Export[] {
  return [...text.matchAll(DECLARATION)].map(([, says = "", kind, name]) => ({
    name: name!,
    isType: kind === "interface" || kind === "type",
    says,
  }));
}

/** What a file takes of others: `path\0name`, and `path\0*` for all of it. */
function usesOf({ path, text }: Source): string[] {
  const resolve = (target: string) => join(dirname(path), target);
  const named = [...text.matchAll(NAMED), ...text.matchAll(LATE_NAMED)].flatMap((
    [, names = "", target = ""],
  ) =>
    names.split(",").map((part) => part.trim().replace(/^type\s+/, "").split(/\s+as\s+|\s*:\s*/)[0]!)
      .filter(Boolean).map((name) => `${resolve(target)}\0${name}`)
  );
  const late = text.replaceAll(LATE_NAMED, "");
  const whole = [...text.matchAll(WHOLE), ...late.matchAll(LATE_WHOLE)].map(([, target]) =>
    `${resolve(target!)}\0*`
  );
  return [...named, ...whole];
}

/** @returns lines `path: name` */
export function deadExports(sources: readonly Source[]): string[] {
  const isTest = (path: string) => path.startsWith("tests/");
  const users = { product: new Set<string>(), tests: new Set<string>() };
  for (const source of sources) {
    const set = isTest(source.path) ? users.tests : users.product;
    for (const use of usesOf(source)) set.add(use);
  }
  const isUsed = (set: ReadonlySet<string>, path: string, name: string) =>
    set.has(`${path}\0${name}`) || set.has(`${path}\0*`);
  return sources.flatMap((source) =>
    exportsOf(source).filter(({ name, isType, says }) => {
      if (isUsed(users.product, source.path, name)) return false;
      const isKnownToTests = isUsed(users.tests, source.path, name);
      if (isKnownToTests && (isTest(source.path) || /\btests\b/i.test(says))) return false;
      return !(isType && source.text.split(new RegExp(`\\b${name}\\b`)).length > 2);
    }).map(({ name }) =>
      `${source.path}: ${name}${isUsed(users.tests, source.path, name) ? " (only tests)" : ""}`
    )
  );
}
