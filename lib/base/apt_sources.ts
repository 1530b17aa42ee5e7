/**
 * apt's lists of sources, so that what banger fetches comes from where the host's administrator said, in
 * both formats: one line each (`*.list`) and deb822 (`*.sources`).
 *
 * Source: sources.list(5)
 */

export interface AptSource {
  /** `http://deb.debian.org/debian` */
  readonly uri: string;
  /** `bookworm-updates` */
  readonly suite: string;
  readonly components: readonly string[];
  /** A keyring's path, where one is named. */
  readonly signedBy?: string;
}

/**
 * The binary package sources of one file that are enabled; what is malformed is left out, as apt itself
 * would refuse the whole file and the host's administrator has other ways to notice.
 *
 * @param name the file's name, whose ending tells its format
 */
export function parseAptSources(name: string, text: string): AptSource[] {
  return name.endsWith(".sources") ? parseDeb822(text) : parseOneLine(text);
}

function parseOneLine(text: string): AptSource[] {
  return text.split("\n").flatMap((line) => {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)((?:\s+[^\s#]+)*)/.exec(line);
    if (!match) return [];
    const [, options = "", uri = "", suite = "", components = ""] = match;
    const signedBy = /(?:^|\s)signed-by=(\S+)/i.exec(options)?.[1];
    return [source(uri, suite, words(components), signedBy)];
  });
}

function parseDeb822(text: string): AptSource[] {
  return text.split(/\n[ \t]*\n/).flatMap((stanza) => {
    const fields = deb822Fields(stanza);
    const value = (name: string) => fields.get(name) ?? "";
    if (!words(value("types")).includes("deb") || /^(no|false|0)$/i.test(value("enabled"))) return [];
    // A key can also stand there itself; only paths are of use here.
    const signedBy = words(value("signed-by")).find((word) => word.startsWith("/"));
    return words(value("uris")).flatMap((uri) =>
      words(value("suites")).map((suite) => source(uri, suite, words(value("components")), signedBy))
    );
  });
}

function deb822Fields(stanza: string): Map<string, string> {
  const fields = new Map<string, string>();
  let current: string | undefined;
  for (const line of stanza.split("\n")) {
    if (line.startsWith("#")) continue;
    const start = /^([A-Za-z][A-Za-z0-9-]*):(.*)$/.exec(line);
    if (start) {
      current = start[1]!.toLowerCase();
      fields.set(current, start[2]!.trim());
    } else if (current !== undefined && /^\s/.test(line)) {
      fields.set(current, `${fields.get(current)} ${line.trim()}`);
    }
  }
  return fields;
}

function source(uri: string, suite: string, components: string[], signedBy: string | undefined): AptSource {
  const plain = { uri: uri.replace(/\/+$/, ""), suite, components };
  return signedBy === undefined ? plain : { ...plain, signedBy };
}

function words(text: string): string[] {
  return text.split(/\s+/).filter(Boolean);
}
