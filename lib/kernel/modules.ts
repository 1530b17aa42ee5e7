import { BangerError } from "../base/errors.ts";
import { quote } from "../base/names.ts";
import { decompressBytes } from "./decompress.ts";
import { findElfSection } from "./elf.ts";

const MAX_MODULE_BYTES = 128 * 1024 * 1024;

/** What a kernel module file says of itself. */
export interface ModuleInfo {
  /** As in /proc/modules: with underscores. */
  readonly name: string;
  /** Relative to /lib/modules/VERSION, such as `kernel/drivers/block/virtio_blk.ko`. */
  readonly path: string;
  /** Names of the modules that must be loaded before. */
  readonly depends: readonly string[];
  readonly aliases: readonly string[];
  /** As in modules.softdep: `pre: a b post: c`. */
  readonly softDependencies: readonly string[];
}

/** @returns whether a file is a kernel module, compressed or not */
export function isModulePath(path: string): boolean {
  return /\.ko(\.(xz|zst|gz))?$/.test(path);
}

/** `kernel/fs/foo-bar.ko.xz` gives `foo_bar`. */
export function moduleNameOf(path: string): string {
  return underscored(path.slice(path.lastIndexOf("/") + 1).replace(/\.ko(\.\w+)?$/, ""));
}

/** The kernel and its tools take `-` and `_` in module names as the same. */
export function underscored(name: string): string {
  return name.replaceAll("-", "_");
}

/** As `underscored`, except within brackets, where `-` spans a range. Source: kmod, alias_normalize() */
export function normalizeAlias(alias: string): string {
  return alias.replaceAll(/\[[^\]]*\]|-/g, (found) => found === "-" ? "_" : found);
}

/**
 * The module itself, where its file is compressed.
 *
 * @throws {BangerError} `corrupt_data`
 */
export async function unpackModule(path: string, bytes: Uint8Array): Promise<Uint8Array> {
  if (path.endsWith(".ko")) return bytes;
  const what = `module ${quote(path)}`;
  return await decompressBytes(bytes, MAX_MODULE_BYTES, what);
}

/**
 * @param path relative to /lib/modules/VERSION
 * @param elf the uncompressed module
 * @throws {BangerError} `corrupt_data`
 */
export function parseModule(path: string, elf: Uint8Array): ModuleInfo {
  const what = `module ${quote(path)}`;
  const section = findElfSection(elf, ".modinfo", what);
  if (section === undefined) throw new BangerError("corrupt_data", `Cannot read ${what}: it has no .modinfo`);
  const fields = new TextDecoder().decode(section).split("\0").map(splitField);
  const values = (wanted: string) => fields.filter(({ key }) => key === wanted).map(({ value }) => value);
  return {
    name: moduleNameOf(path),
    path,
    depends: values("depends").flatMap((text) => text.split(",")).filter(Boolean).map(underscored),
    aliases: values("alias"),
    softDependencies: values("softdep"),
  };
}

function splitField(text: string): { key: string; value: string } {
  const equals = text.indexOf("=");
  return { key: text.slice(0, Math.max(equals, 0)), value: text.slice(equals + 1) };
}

/** Aliases of code that is in the kernel itself, from modules.builtin.modinfo (`name.alias=...`, NUL-separated). */
export function parseBuiltinAliases(text: string): { alias: string; name: string }[] {
  const found: { alias: string; name: string }[] = [];
  for (const field of text.split("\0")) {
    const match = /^([^.=]+)\.alias=([^]*)$/.exec(field);
    if (match) found.push({ name: underscored(match[1]!), alias: match[2]! });
  }
  return found;
}

/** What needs what among a kernel's modules. */
export class ModuleGraph {
  /** In the order of modules.order. */
  readonly modules: readonly ModuleInfo[];
  readonly #byName: ReadonlyMap<string, ModuleInfo>;

  /** @param order lines of modules.order: paths, uncompressed names */
  constructor(modules: readonly ModuleInfo[], order: readonly string[]) {
    const rank = new Map(order.map((path, index) => [moduleNameOf(path), index]));
    this.modules = modules.toSorted((a, b) =>
      (rank.get(a.name) ?? order.length) - (rank.get(b.name) ?? order.length) ||
      (a.path < b.path ? -1 : a.path > b.path ? 1 : 0)
    );
    this.#byName = new Map(this.modules.map((module) => [module.name, module]));
  }

  find(name: string): ModuleInfo | undefined {
    return this.#byName.get(underscored(name));
  }

  /**
   * Everything that `names` need and themselves, each after what it needs: the order to load them in.
   *
   * @throws {BangerError} `corrupt_data` where a module is missing or needs itself
   */
  loadOrder(names: readonly string[]): ModuleInfo[] {
    const done = new Set<ModuleInfo>();
    const open = new Set<ModuleInfo>();
    const visit = (name: string, wantedBy: string) => {
      const module = this.find(name);
      if (module === undefined) {
        throw broken(`module ${quote(name)}, which ${wantedBy} needs, is missing`);
      }
      if (done.has(module)) return;
      if (open.has(module)) throw broken(`module ${quote(name)} needs itself`);
      open.add(module);
      for (const needed of module.depends) visit(needed, quote(module.name));
      open.delete(module);
      done.add(module);
    };
    for (const name of names) visit(name, "banger");
    return [...done];
  }

  /** What a module needs, directly or not: whatever needs something else of the list stands before it. */
  dependenciesOf(module: ModuleInfo): ModuleInfo[] {
    return this.loadOrder([module.name]).slice(0, -1).reverse();
  }
}

function broken(why: string): BangerError {
  return new BangerError(
    "corrupt_data",
    `Cannot use this kernel package: ${why}`,
    "Fetch the package again",
  );
}
