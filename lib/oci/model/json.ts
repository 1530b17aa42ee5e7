import { BangerError } from "../../base/errors.ts";

/** What containerd reads at most of a manifest. */
export const MAX_JSON_BYTES = 4 * 1024 * 1024;
const MAX_DEPTH = 64;
const MAX_VALUES = 200_000;

export type JsonObject = ReadonlyMap<string, Json>;
export type Json = null | boolean | number | string | readonly Json[] | JsonObject;

/**
 * Parses JSON that others may read differently: what is ambiguous is refused (a key twice, bytes that are no
 * UTF-8), and so is what only costs memory. Objects become Maps, so that no key means anything to us.
 *
 * @param what names the document in errors
 * @throws {BangerError} `corrupt_data`
 */
export function parseJson(bytes: Uint8Array, what: string): Json {
  if (bytes.length > MAX_JSON_BYTES) throw corrupt(what, "it is larger than 4 MiB");
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (failure) {
    throw corrupt(what, "it is no UTF-8 text", failure);
  }
  return new Parser(text, what).document();
}

function corrupt(what: string, why: string, cause?: unknown): BangerError {
  return new BangerError("corrupt_data", `Cannot read ${what}: ${why}`, undefined, { cause });
}

const SPACE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const WORD = /true|false|null/y;
const WORDS: ReadonlyMap<string, Json> = new Map<string, Json>([["true", true], ["false", false], [
  "null",
  null,
]]);

class Parser {
  #at = 0;
  #values = 0;

  constructor(readonly text: string, readonly what: string) {}

  document(): Json {
    const value = this.#value(0);
    this.#match(SPACE);
    if (this.#at < this.text.length) throw this.#fail("something follows its end");
    return value;
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.text);
    if (match === null) return undefined;
    this.#at += match[0].length;
    return match[0];
  }

  #take(char: string): boolean {
    this.#match(SPACE);
    if (this.text[this.#at] !== char) return false;
    this.#at++;
    return true;
  }

  #value(depth: number): Json {
    if (depth > MAX_DEPTH) throw this.#fail(`it is nested more than ${MAX_DEPTH} deep`);
    if (++this.#values > MAX_VALUES) throw this.#fail(`it has more than ${MAX_VALUES} values`);
    if (this.#take("{")) return this.#object(depth);
    if (this.#take("[")) return this.#array(depth);
    if (this.text[this.#at] === '"') return this.#string();
    const number = this.#match(NUMBER);
    if (number !== undefined) return Number(number);
    const word = this.#match(WORD);
    if (word !== undefined) return WORDS.get(word)!;
    throw this.#fail("it is no valid JSON");
  }

  /** A loop, since a regular expression would need stack for long texts. */
  #string(): string {
    const start = this.#at;
    let end = start + 1;
    for (; end < this.text.length && this.text[end] !== '"'; end++) {
      if (this.text[end] === "\\") end++;
    }
    this.#at = end + 1;
    try {
      return JSON.parse(this.text.slice(start, end + 1));
    } catch (failure) {
      throw corrupt(this.what, "it has an invalid text", failure);
    }
  }

  #object(depth: number): JsonObject {
    const object = new Map<string, Json>();
    if (this.#take("}")) return object;
    do {
      this.#match(SPACE);
      const key = this.#string();
      if (!this.#take(":")) throw this.#fail("it is no valid JSON");
      if (object.has(key)) throw this.#fail("it has a key twice in one object");
      object.set(key, this.#value(depth + 1));
    } while (this.#take(","));
    if (!this.#take("}")) throw this.#fail("it is no valid JSON");
    return object;
  }

  #array(depth: number): readonly Json[] {
    const array: Json[] = [];
    if (this.#take("]")) return array;
    do array.push(this.#value(depth + 1)); while (this.#take(","));
    if (!this.#take("]")) throw this.#fail("it is no valid JSON");
    return array;
  }

  #fail(why: string): BangerError {
    return corrupt(this.what, why);
  }
}

/** Takes typed values out of a parsed document; what is missing or of another type is a readable error. */
export class JsonReader {
  readonly #object: JsonObject;
  readonly #what: string;

  /** @throws {BangerError} `corrupt_data` where `value` is no object */
  constructor(value: Json | undefined, what: string) {
    if (!(value instanceof Map)) throw corrupt(what, "it is no JSON object");
    this.#object = value;
    this.#what = what;
  }

  has(key: string): boolean {
    return this.#object.has(key);
  }

  /** Go writes absent slices and maps as null. */
  #find(key: string): Json | undefined {
    return this.#object.get(key) ?? undefined;
  }

  findString(key: string): string | undefined {
    const value = this.#find(key);
    if (value === undefined || typeof value === "string") return value;
    throw this.fail(`its ${key} is no text`);
  }

  getString(key: string): string {
    const value = this.findString(key);
    if (value === undefined) throw this.fail(`it has no ${key}`);
    return value;
  }

  /** A whole number from 0 to 2^53 - 1. */
  getCount(key: string): number {
    const value = this.#find(key);
    if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
    throw this.fail(`its ${key} is no whole number`);
  }

  findArray(key: string, maxLength: number): readonly Json[] | undefined {
    const value = this.#find(key);
    if (value === undefined) return undefined;
    if (!Array.isArray(value)) throw this.fail(`its ${key} is no list`);
    if (value.length > maxLength) throw this.fail(`its ${key} has more than ${maxLength} entries`);
    return value;
  }

  findStrings(key: string, maxLength: number): string[] | undefined {
    return this.findArray(key, maxLength)?.map((value) => {
      if (typeof value !== "string") throw this.fail(`its ${key} has an entry that is no text`);
      return value;
    });
  }

  findObject(key: string): JsonReader | undefined {
    const value = this.#find(key);
    return value === undefined ? undefined : new JsonReader(value, `${key} of ${this.#what}`);
  }

  /** An object of texts; entries of other types are left out. */
  findTexts(key: string): ReadonlyMap<string, string> {
    const value = this.#find(key);
    if (value === undefined) return new Map();
    if (!(value instanceof Map)) throw this.fail(`its ${key} is no object`);
    return new Map([...value].filter((entry): entry is [string, string] => typeof entry[1] === "string"));
  }

  keys(): string[] {
    return [...this.#object.keys()];
  }

  fail(why: string): BangerError {
    return corrupt(this.#what, why);
  }
}
