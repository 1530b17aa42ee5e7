/** What stands where a secret was. */
export const MASK = "***";

/** Shorter ones would tear holes into every word around them. */
const MIN_KNOWN_CHARACTERS = 4;

const SECRET_WORD = String
  .raw`[\w.-]{0,64}(?:passw(?:or)?d|passphrase|secret|token|credential|private[_-]?key|api[_-]?key|access[_-]?key|auth)[\w.-]{0,64}`;

/**
 * In the order in which they are tried: what has a form of its own first. A guest writes consoles, so nothing here
 * may take long on any text: what repeats inside a repetition is bounded.
 */
const PATTERNS: readonly (readonly [RegExp, string])[] = [
  // Keys, also where lines are joined by "\n" as in JSON, and where the end is cut off.
  [/-----BEGIN [A-Z0-9 ]*PRIVATE KEY[\s\S]*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|$)/g, MASK],
  // URLs with user info.
  [/\b([a-z][a-z0-9+.-]{0,30}:\/\/)[^\s/@"'<>]{1,4096}@/gi, `$1${MASK}@`],
  // The same without its scheme.
  [/[^\s/@:"'<>=]{1,128}:[^\s/@"'<>]{1,256}@(?=[\w[])/g, `${MASK}@`],
  // Queries that sign or authorize a request.
  [
    /([?&](?:[\w.-]*(?:sig|signature|token|key|secret|credential|password)[\w.-]*)=)[^&\s"'<>]+/gi,
    `$1${MASK}`,
  ],
  [/\b((?:proxy-)?authorization["']?\s*[:=]\s*["']?)[^\r\n"']+/gi, `$1${MASK}`],
  [/\b((?:set-)?cookie["']?\s*[:=]\s*["']?)[^\r\n"']+/gi, `$1${MASK}`],
  [/\b(bearer|basic)\s+[A-Za-z0-9._~+\/=-]{8,}/gi, `$1 ${MASK}`],
  // JSON Web Tokens, and tokens that say by their beginning what they are.
  [/\beyJ[A-Za-z0-9_-]{5,4096}\.[A-Za-z0-9_-]{5,4096}(?:\.[A-Za-z0-9_-]{0,4096})?/g, MASK],
  [/\b(?:gh[opsur]_|github_pat_|glpat-|xox[abeprs]-|sk-|npm_|pypi-|hf_|dop_v1_)[A-Za-z0-9_-]{10,}/g, MASK],
  [/\b(?:AKIA|ASIA)[A-Z0-9]{16}\b/g, MASK],
  // "name": "value", name = "value", NAME=value, --name value
  [new RegExp(String.raw`(["']?\b${SECRET_WORD}["']?\s*[:=]\s*)"(?:[^"\\\n]|\\.)*"`, "gi"), `$1"${MASK}"`],
  [new RegExp(String.raw`(["']?\b${SECRET_WORD}["']?\s*[:=]\s*)'[^'\n]*'`, "gi"), `$1'${MASK}'`],
  [new RegExp(String.raw`(\b${SECRET_WORD}["']?\s*[:=]\s*)[^\s"',;}\]]+`, "gi"), `$1${MASK}`],
  [new RegExp(String.raw`(--${SECRET_WORD}\s+)[^\s-]\S*`, "gi"), `$1${MASK}`],
];

const KEY_END = /-----END [A-Z0-9 ]*PRIVATE KEY-----/;
const KEY_BEGIN = /-----BEGIN [A-Z0-9 ]*PRIVATE KEY/;

/** The end of a text may begin inside a key: all of it up to the key's end goes. */
function withoutHalfKey(text: string): string {
  const end = KEY_END.exec(text);
  if (end === null || KEY_BEGIN.test(text.slice(0, end.index))) return text;
  return `${MASK}${text.slice(end.index + end[0].length)}`;
}

/** Collects what is known to be secret, and takes it and whatever looks like it out of texts. */
export class Masking {
  readonly #known = new Set<string>();

  /** A value that must not occur in what leaves the host; of several lines each one is. */
  add(value: string): void {
    for (const line of [value, ...value.split(/\r?\n/)]) {
      const bare = line.trim();
      if (bare.length < MIN_KNOWN_CHARACTERS) continue;
      this.#known.add(bare);
      // As JSON writes it: logs are JSON.
      this.#known.add(JSON.stringify(bare).slice(1, -1));
    }
  }

  text(text: string): string {
    // Longest first: a value may be a part of another.
    const known = [...this.#known].sort((a, b) => b.length - a.length);
    const without = known.reduce((rest, value) => rest.replaceAll(value, MASK), withoutHalfKey(text));
    return PATTERNS.reduce((rest, [pattern, replacement]) => rest.replaceAll(pattern, replacement), without);
  }
}
