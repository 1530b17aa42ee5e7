/**
 * Which versions of which tools a repository asks for, read from the files that say so. Everything in them is
 * a stranger's: what is no plain name and no plain version is left out.
 */
import type { ByteString } from "../base/tree.ts";
import type { TreeReader } from "../base/tree_reader.ts";

export interface ToolPin {
  /** As mise calls it. */
  readonly tool: string;
  readonly version: string;
  /** The file that says so. */
  readonly source: string;
}

type Pins = readonly (readonly [tool: string, version: unknown])[];
type Reader = (text: string) => Pins | Promise<Pins>;

const MAX_FILE_BYTES = 256 * 1024;
const MAX_PINS = 32;
const TOOL = /^[a-z0-9][a-z0-9:@/._-]{0,63}$/i;
const VERSION = /^[a-z0-9][a-z0-9._+:-]{0,63}$/i;
/** Other tools' names for what mise has. */
const NAMES: Readonly<Record<string, string>> = { nodejs: "node", golang: "go" };

/** In order: where two files name a tool, the first is meant. */
const READERS: readonly (readonly [file: string, reader: Reader])[] = [
  ["mise.toml", miseTools],
  [".mise.toml", miseTools],
  [".tool-versions", toolVersions],
  ["go.mod", goVersion],
  [".nvmrc", nodeVersion],
  [".node-version", nodeVersion],
  ["package.json", packageEngines],
  [".python-version", (text) => [["python", firstWord(text)]]],
  ["pyproject.toml", pythonRequired],
  ["rust-toolchain.toml", rustChannel],
  ["rust-toolchain", rustChannel],
];

/** @param tree of the repository's top */
export async function planTools(tree: Pick<TreeReader, "find" | "open">): Promise<ToolPin[]> {
  const pins = new Map<string, ToolPin>();
  for (const [source, reader] of READERS) {
    const text = readSmall(tree, source as ByteString);
    if (text === undefined) continue;
    for (const [name, value] of await reader(text)) {
      const tool = NAMES[name] ?? name;
      const version = typeof value === "string" ? value.trim() : "";
      if (!TOOL.test(tool) || !VERSION.test(version) || pins.has(tool) || pins.size >= MAX_PINS) continue;
      pins.set(tool, { tool, version, source });
    }
  }
  return [...pins.values()];
}

function readSmall(tree: Pick<TreeReader, "find" | "open">, path: ByteString): string | undefined {
  const stat = tree.find(path);
  if (stat?.kind !== "file" || stat.sizeBytes > MAX_FILE_BYTES) return undefined;
  using file = tree.open(path);
  const buffer = new Uint8Array(MAX_FILE_BYTES);
  let length = 0;
  for (let count; (count = file.read(buffer.subarray(length))) > 0;) length += count;
  return new TextDecoder().decode(buffer.subarray(0, length));
}

function firstWord(text: string): string {
  const line = text.split("\n").map((line) => line.replace(/#.*/, "").trim()).find((line) => line !== "");
  return line?.split(/\s+/)[0] ?? "";
}

async function parseToml(text: string): Promise<Record<string, unknown>> {
  const { parse, TomlError } = await import("smol-toml");
  try {
    return parse(text);
  } catch (thrown) {
    if (thrown instanceof TomlError) return {};
    throw thrown;
  }
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? value as Record<string, unknown> : {};
}

async function miseTools(text: string): Promise<Pins> {
  return Object.entries(record((await parseToml(text)).tools)).map(([tool, value]) => {
    const first = Array.isArray(value) ? value[0] : value;
    return [tool, typeof first === "string" ? first : record(first).version] as const;
  });
}

function toolVersions(text: string): Pins {
  return text.split("\n").map((line) => line.replace(/#.*/, "").trim().split(/\s+/)).flatMap(
    ([tool, version]) => tool && version ? [[tool, version] as const] : [],
  );
}

function goVersion(text: string): Pins {
  const toolchain = /^toolchain\s+go(\d[\w.]*)\s*$/m.exec(text)?.[1];
  return [["go", toolchain ?? /^go\s+(\d[\w.]*)\s*$/m.exec(text)?.[1]]];
}

function nodeVersion(text: string): Pins {
  const word = firstWord(text).replace(/^v(?=\d)/, "");
  return [["node", word.startsWith("lts/") || word === "lts" ? "lts" : word === "node" ? "latest" : word]];
}

function packageEngines(text: string): Pins {
  let content: Record<string, unknown>;
  try {
    content = record(JSON.parse(text));
  } catch (thrown) {
    if (thrown instanceof SyntaxError) return [];
    throw thrown;
  }
  const engines = record(content.engines);
  const manager = /^(npm|pnpm|yarn|bun)@(\d[\w.-]*)/.exec(String(content.packageManager ?? ""));
  return [
    ["node", lowestOf(engines.node)],
    ...(manager ? [[manager[1]!, manager[2]!] as const] : []),
    ...["pnpm", "yarn", "bun", "deno"].map((tool) => [tool, lowestOf(engines[tool])] as const),
  ];
}

/** Of a range of versions the lowest that is certainly in it, as far as it says. */
function lowestOf(range: unknown): string | undefined {
  if (typeof range !== "string") return undefined;
  const first = /(\^|~|>=|=|v)?\s*v?(\d+)(?:\.(\d+))?(?:\.(\d+))?/.exec(range);
  if (!first || /^\s*</.test(range)) return undefined;
  const [, sign, major, minor, patch] = first;
  if (sign === "^" || minor === undefined) return major;
  return sign === "=" && patch !== undefined ? `${major}.${minor}.${patch}` : `${major}.${minor}`;
}

async function pythonRequired(text: string): Promise<Pins> {
  const content = await parseToml(text);
  const poetry = record(record(record(content.tool).poetry).dependencies).python;
  return [["python", lowestOf(record(content.project)["requires-python"] ?? poetry)]];
}

async function rustChannel(text: string): Promise<Pins> {
  if (!text.includes("[toolchain]")) return [["rust", firstWord(text)]];
  return [["rust", record((await parseToml(text)).toolchain).channel]];
}

/**
 * $1: home; the others: `tool@version`. Returns at once. mise's own settings in the repository are not read:
 * they could name scripts. Tools that the image has stay before those that come this way.
 */
export const INSTALL_TOOLS = `
cd "$1" || exit
mkdir -p .banger
HOME=$1
export HOME MISE_YES=1
shift
install() {
  if ! command -v mise > /dev/null; then
    echo "mise is not there: trying to get it"
    MISE_INSTALL_PATH=/usr/local/bin/mise
    export MISE_INSTALL_PATH
    if command -v curl > /dev/null; then curl -fsSL https://mise.run | sh
    else wget -q -O - https://mise.run | sh
    fi || true
    command -v mise > /dev/null || { echo "mise can't be had: nothing is installed"; return; }
  fi
  for tool; do
    echo "installing $tool"
    mise use --global --yes "$tool" || echo "$tool could not be installed"
  done
  for shim in "$HOME"/.local/share/mise/shims/*; do
    [ ! -x "$shim" ] || command -v "\${shim##*/}" > /dev/null || ln -s "$shim" /usr/local/bin/
  done
  echo "done"
}
(install "$@") > .banger/tools.log 2>&1 < /dev/null &
`;
