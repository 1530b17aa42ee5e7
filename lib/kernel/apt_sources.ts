/**
 * Which Debian archives the host trusts, read from its own apt sources.
 *
 * Source: sources.list(5)
 */
export interface AptSource {
  readonly uris: readonly string[];
  readonly suites: readonly string[];
  /** `Signed-By` as written: paths, fingerprints, or a key block with its line breaks. Else apt's own keyrings. */
  readonly signedBy?: string;
  /** `Check-Valid-Until: no`, as archives of the past need it. */
  readonly ignoresExpiry: boolean;
}

const RELEASE =
  /^(oldoldstable|oldstable|stable|testing|unstable|sid|buster|bullseye|bookworm|trixie|forky|duke)$/;
const DEBIAN_PATH = /(^|\/)debian(-security)?(\.list|\/|$)/;

/**
 * @param path of the file: its ending tells the format
 * @returns the sources of Debian's own archives that are enabled; others are left out
 */
export function parseAptSources(path: string, text: string): AptSource[] {
  const entries = path.endsWith(".sources") ? parseStanzas(text) : parseLines(text);
  return entries.filter(isDebian);
}

/** For a person's mirror: `mirror.example/debian`, `.../debian-security`, `mirror+file:/etc/apt/mirrors/debian.list`. */
function isDebian({ uris, suites }: AptSource): boolean {
  return uris.length > 0 && uris.every((uri) => DEBIAN_PATH.test(uri)) &&
    suites.length > 0 && suites.every((suite) => RELEASE.test(releaseOf(suite)));
}

/** `bookworm-security` and `buster/updates` give the release's name. */
function releaseOf(suite: string): string {
  return suite.replace(/(-(updates|security|proposed-updates|backports)|\/updates)$/, "");
}

/** Whether a source is a release itself, not what is laid over one. */
export function isMainArchive(source: AptSource): boolean {
  return source.suites.some((suite) => releaseOf(suite) === suite);
}

function parseStanzas(text: string): AptSource[] {
  const withoutComments = text.split("\n").filter((line) => !line.startsWith("#")).join("\n");
  return withoutComments.split(/\n[ \t]*(?:\n[ \t]*)*\n/).flatMap((stanza) => {
    const fields = stanzaFields(stanza);
    const words = (name: string) => (fields.get(name) ?? "").split(/\s+/).filter(Boolean);
    if (!words("types").includes("deb") || isNo(fields.get("enabled"))) return [];
    if (!words("components").includes("main")) return [];
    return [source(words("uris"), words("suites"), fields.get("signed-by"), fields.get("check-valid-until"))];
  });
}

/** Names are the same in upper and lower case; continuation lines keep their line breaks. */
function stanzaFields(stanza: string): Map<string, string> {
  const fields = new Map<string, string>();
  let last = "";
  for (const line of stanza.split("\n")) {
    if (/^\s/.test(line)) {
      if (last !== "") fields.set(last, `${fields.get(last)}\n${line}`);
      continue;
    }
    const colon = line.indexOf(":");
    last = colon > 0 ? line.slice(0, colon).toLowerCase() : "";
    if (last !== "") fields.set(last, line.slice(colon + 1).trim());
  }
  return fields;
}

function parseLines(text: string): AptSource[] {
  return text.split("\n").flatMap((line) => {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)\s+([^#]*)/.exec(line);
    if (!match) return [];
    const [, optionText = "", uri = "", suite = "", components = ""] = match;
    if (!components.split(/\s+/).includes("main")) return [];
    const options = new Map(
      optionText.split(/\s+/).filter(Boolean).map((option): [string, string] => {
        const equals = option.indexOf("=");
        return [option.slice(0, equals).toLowerCase(), option.slice(equals + 1)];
      }),
    );
    return [source(
      [uri],
      [suite],
      options.get("signed-by")?.replaceAll(",", " "),
      options.get("check-valid-until"),
    )];
  });
}

function source(
  uris: string[],
  suites: string[],
  signedBy: string | undefined,
  checkValidUntil: string | undefined,
): AptSource {
  return {
    uris,
    suites,
    ...(signedBy === undefined ? {} : { signedBy }),
    ignoresExpiry: isNo(checkValidUntil),
  };
}

/** Source: apt's StringToBool() */
function isNo(value: string | undefined): boolean {
  return value !== undefined && /^(no|false|without|off|disable|0)$/i.test(value);
}

/** One deb822 file for a private apt: only package lists of the main component, no translations. */
export function formatAptSources(sources: readonly AptSource[], architecture: string): string {
  return sources.map(({ uris, suites, signedBy, ignoresExpiry }) =>
    [
      "Types: deb",
      `URIs: ${uris.join(" ")}`,
      `Suites: ${suites.join(" ")}`,
      "Components: main",
      `Architectures: ${architecture}`,
      "Targets: Packages",
      "Languages: none",
      ...(signedBy === undefined ? [] : [`Signed-By: ${signedBy}`]),
      ...(ignoresExpiry ? ["Check-Valid-Until: no"] : []),
      "",
    ].join("\n")
  ).join("\n");
}
