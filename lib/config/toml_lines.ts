/**
 * Where each key of a TOML document stands. Parsers of TOML give values without their places, and a refusal
 * that names the line is found at once.
 *
 * @param text TOML that a parser has already accepted: what is none gives places that mean nothing
 * @returns the first line, counted from 1, by the key's path (`pathKey`); elements of arrays by their index
 * Source: TOML 1.0.0
 */
export function tomlLines(text: string): Map<string, number> {
  const scanner = new Scanner(text);
  scanner.document();
  return scanner.lines;
}

/** @returns one text for a path, whatever characters its names have */
export function pathKey(path: readonly (string | number)[]): string {
  return path.map(String).join("\0");
}

type Path = readonly (string | number)[];

class Scanner {
  readonly lines = new Map<string, number>();
  readonly #text: string;
  /** How many tables each array of tables has so far. */
  readonly #tables = new Map<string, number>();
  #at = 0;
  #line = 1;

  constructor(text: string) {
    this.#text = text;
  }

  document(): void {
    let table: Path = [];
    for (;;) {
      this.#skipBlank();
      if (this.#at >= this.#text.length) return;
      if (this.#peek() === "[") table = this.#header();
      else this.#pair(table);
    }
  }

  /** @returns the path of the table that begins */
  #header(): Path {
    const line = this.#line;
    const isArray = this.#text.startsWith("[[", this.#at);
    this.#at += isArray ? 2 : 1;
    const names = this.#dottedKey("]");
    this.#at += isArray ? 2 : 1;
    const path: (string | number)[] = [];
    for (const [index, name] of names.entries()) {
      path.push(name);
      this.#note(path, line);
      const isNew = isArray && index === names.length - 1;
      const count = this.#tables.get(pathKey(path)) ?? 0;
      if (isNew) this.#tables.set(pathKey(path), count + 1);
      if (isNew || count > 0) path.push(isNew ? count : count - 1);
    }
    this.#note(path, line);
    return path;
  }

  #pair(table: Path): void {
    const line = this.#line;
    const path = [...table];
    for (const name of this.#dottedKey("=")) {
      path.push(name);
      this.#note(path, line);
    }
    this.#at++;
    this.#skipSpace();
    this.#value(path);
  }

  #value(path: Path): void {
    this.#note(path, this.#line);
    const first = this.#peek();
    if (first === '"' || first === "'") this.#string(first);
    else if (first === "[") this.#array(path);
    else if (first === "{") this.#inlineTable(path);
    else while (this.#at < this.#text.length && !/[,\]}#\n]/.test(this.#peek())) this.#at++;
  }

  #array(path: Path): void {
    this.#at++;
    for (let index = 0;; index++) {
      this.#skipBlank();
      if (this.#isEnd("]")) return;
      this.#value([...path, index]);
      this.#skipBlank();
      if (this.#peek() === ",") this.#at++;
    }
  }

  #inlineTable(path: Path): void {
    this.#at++;
    for (;;) {
      this.#skipBlank();
      if (this.#isEnd("}")) return;
      this.#pair(path);
      this.#skipBlank();
      if (this.#peek() === ",") this.#at++;
    }
  }

  #isEnd(bracket: string): boolean {
    if (this.#peek() !== bracket && this.#at < this.#text.length) return false;
    this.#at++;
    return true;
  }

  /** @param end the character behind it, which stays */
  #dottedKey(end: string): string[] {
    const names: string[] = [];
    while (this.#at < this.#text.length && this.#peek() !== end) {
      const start = this.#at;
      const first = this.#peek();
      if (first === '"' || first === "'") {
        this.#string(first);
        names.push(unquoted(this.#text.slice(start, this.#at)));
      } else if (/[\s.]/.test(first)) {
        this.#at++;
      } else {
        while (this.#at < this.#text.length && /[A-Za-z0-9_-]/.test(this.#peek())) this.#at++;
        if (this.#at === start) this.#at++; // no TOML: go on anyway
        names.push(this.#text.slice(start, this.#at));
      }
    }
    return names;
  }

  #string(quote: string): void {
    const isLong = this.#text.startsWith(quote.repeat(3), this.#at);
    const end = isLong ? quote.repeat(3) : quote;
    this.#at += end.length;
    while (this.#at < this.#text.length && !this.#text.startsWith(end, this.#at)) {
      if (this.#peek() === "\\" && quote === '"') this.#advance();
      this.#advance();
    }
    this.#at += end.length;
    // A long string may end with one or two quotes of its own.
    while (isLong && this.#peek() === quote) this.#at++;
  }

  #skipSpace(): void {
    while (this.#peek() === " " || this.#peek() === "\t") this.#at++;
  }

  /** Space, line ends, comments. */
  #skipBlank(): void {
    for (;;) {
      if (this.#peek() === "#") { while (this.#at < this.#text.length && this.#peek() !== "\n") this.#at++; }
      else if (this.#at < this.#text.length && /\s/.test(this.#peek())) this.#advance();
      else return;
    }
  }

  #peek(): string {
    return this.#text[this.#at] ?? "";
  }

  #advance(): void {
    if (this.#peek() === "\n") this.#line++;
    this.#at++;
  }

  #note(path: Path, line: number): void {
    const key = pathKey(path);
    if (!this.lines.has(key)) this.lines.set(key, line);
  }
}

function unquoted(text: string): string {
  if (text.startsWith("'")) return text.slice(1, -1);
  try {
    return String(JSON.parse(text));
  } catch (thrown) {
    if (thrown instanceof SyntaxError) return text.slice(1, -1); // TOML's \UXXXXXXXX is no JSON
    throw thrown;
  }
}
