import { ModuleIndex } from "./module_index.ts";
import {
  type ModuleGraph,
  moduleNameOf,
  normalizeAlias,
  parseBuiltinAliases,
  underscored,
} from "./modules.ts";

/** What the package brings beside the modules; empty where it lacks one. */
export interface ModuleLists {
  /** modules.order */
  readonly order: string;
  /** modules.builtin */
  readonly builtin: string;
  /** modules.builtin.modinfo */
  readonly builtinModinfo: string;
}

/**
 * The files that depmod would write into /lib/modules/VERSION, so that modprobe of kmod and of busybox work
 * in the guest. The package's own lists are part of them.
 *
 * Leaves modules.symbols empty: loading by symbol is not how any distribution's modules find each other.
 *
 * @returns content by file name
 * Source: kmod tools/depmod.c, depfile_up_to_date() and the output_*() functions
 */
export function moduleFiles(graph: ModuleGraph, lists: ModuleLists): Map<string, Uint8Array> {
  const text = new TextEncoder();
  const files = new Map<string, Uint8Array>();
  const put = (name: string, content: string) => files.set(name, text.encode(content));
  put("modules.order", lists.order);
  put("modules.builtin", lists.builtin);
  put("modules.builtin.modinfo", lists.builtinModinfo);
  const dependencies = dependencyLines(graph);
  put("modules.dep", [...dependencies.values()].map((line) => `${line}\n`).join(""));
  put("modules.alias", aliasText(graph));
  put("modules.softdep", softDependencyText(graph));
  put("modules.devname", deviceText(graph));
  put("modules.symbols", "# Aliases for symbols, used by symbol_request().\n");

  const dependencyIndex = new ModuleIndex();
  for (const [name, line] of dependencies) dependencyIndex.insert(name, line);
  files.set("modules.dep.bin", dependencyIndex.serialize());
  files.set("modules.alias.bin", aliasIndex(graph).serialize());
  files.set("modules.symbols.bin", new ModuleIndex().serialize());
  files.set("modules.builtin.bin", builtinIndex(lists.builtin).serialize());
  files.set("modules.builtin.alias.bin", builtinAliasIndex(lists.builtinModinfo).serialize());
  return files;
}

function dependencyLines(graph: ModuleGraph): Map<string, string> {
  return new Map(graph.modules.map((module) => {
    const paths = graph.dependenciesOf(module).map(({ path }) => ` ${path}`);
    return [module.name, `${module.path}:${paths.join("")}`];
  }));
}

function aliasText(graph: ModuleGraph): string {
  const lines = graph.modules.flatMap(({ name, aliases }) =>
    aliases.map((alias) => `alias ${alias} ${name}\n`)
  );
  return `# Aliases extracted from modules themselves.\n${lines.join("")}`;
}

function aliasIndex(graph: ModuleGraph): ModuleIndex {
  const index = new ModuleIndex();
  for (const [priority, { name, aliases }] of graph.modules.entries()) {
    for (const alias of aliases) index.insert(normalizeAlias(alias), name, priority);
  }
  return index;
}

function softDependencyText(graph: ModuleGraph): string {
  const lines = graph.modules.flatMap(({ name, softDependencies }) =>
    softDependencies.map((dependency) => `softdep ${name} ${dependency}\n`)
  );
  return `# Soft dependencies extracted from modules themselves.\n${lines.join("")}`;
}

/** Device nodes that load a module when they are opened first. */
function deviceText(graph: ModuleGraph): string {
  let text = "# Device nodes to trigger on-demand module loading.\n";
  for (const { name, aliases } of graph.modules) {
    const devname = aliases.find((alias) => alias.startsWith("devname:"))?.slice("devname:".length);
    const number = aliases.map((alias) => /^(char|block)-major-(\d+)-(\d+)$/.exec(alias)).find(Boolean);
    if (devname === undefined || !number) continue;
    text += `${name} ${devname} ${number[1] === "char" ? "c" : "b"}${number[2]}:${number[3]}\n`;
  }
  return text;
}

function builtinIndex(builtin: string): ModuleIndex {
  const index = new ModuleIndex();
  for (const path of builtin.split("\n").filter(Boolean)) index.insert(moduleNameOf(path), "");
  return index;
}

function builtinAliasIndex(modinfo: string): ModuleIndex {
  const index = new ModuleIndex();
  for (const { alias, name } of parseBuiltinAliases(modinfo)) {
    index.insert(normalizeAlias(alias), underscored(name));
  }
  return index;
}
