import type { Brand } from "./brand.ts";
import { BangerError } from "./errors.ts";

export type VmName = Brand<string, "VmName">;
export type VmId = Brand<string, "VmId">;
export type ImageName = Brand<string, "ImageName">;
export type ImageId = Brand<string, "ImageId">;
export type KernelName = Brand<string, "KernelName">;

/** VM names are DNS labels (RFC 1123, section 2.1), since each VM answers at `<name>.vm`. */
const VM_NAME = /^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/;
/** Image and kernel names are directory names and stay readable on a command line. */
const STORE_NAME = /^[a-z0-9]([a-z0-9._-]{0,126}[a-z0-9])?$/;

/** @throws {BangerError} `invalid_argument` */
export function parseVmName(text: string): VmName {
  if (VM_NAME.test(text)) return text as VmName;
  throw new BangerError(
    "invalid_argument",
    `Cannot use ${quote(text)} as a VM name: it is not a DNS label`,
    "Start with a letter; use up to 63 lower-case letters, digits and inner hyphens",
  );
}

/** @throws {BangerError} `invalid_argument` */
export function parseImageName(text: string): ImageName {
  if (STORE_NAME.test(text)) return text as ImageName;
  throw badStoreName(text, "an image");
}

/** @throws {BangerError} `invalid_argument` */
export function parseKernelName(text: string): KernelName {
  if (STORE_NAME.test(text)) return text as KernelName;
  throw badStoreName(text, "a kernel");
}

function badStoreName(text: string, noun: string): BangerError {
  return new BangerError(
    "invalid_argument",
    `Cannot use ${quote(text)} as ${noun} name`,
    "Use up to 128 lower-case letters, digits, dots, hyphens and underscores; begin and end with a letter or digit",
  );
}

/** Outside text inside one of our messages: JSON-quoted, so no control character gets through. */
export function quote(text: string): string {
  const shown = text.length > 100 ? `${text.slice(0, 100)}…` : text;
  // DEL, C1 and bidirectional controls would still reach a terminal after JSON quoting.
  return JSON.stringify(shown).replaceAll(/[\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "\ufffd");
}

const ADJECTIVES = [
  "amber",
  "bold",
  "brave",
  "bright",
  "calm",
  "clever",
  "coral",
  "crisp",
  "eager",
  "fair",
  "fast",
  "fond",
  "gentle",
  "glad",
  "golden",
  "happy",
  "jolly",
  "keen",
  "kind",
  "light",
  "lively",
  "loud",
  "lucky",
  "mellow",
  "merry",
  "mild",
  "neat",
  "noble",
  "proud",
  "quick",
  "quiet",
  "rapid",
  "royal",
  "silver",
  "sunny",
  "swift",
  "tidy",
  "vivid",
  "warm",
  "wise",
] as const;
const ANIMALS = [
  "badger",
  "beaver",
  "bison",
  "cobra",
  "crane",
  "dingo",
  "eagle",
  "falcon",
  "ferret",
  "finch",
  "fox",
  "gecko",
  "heron",
  "ibex",
  "jackal",
  "koala",
  "lemur",
  "lynx",
  "marten",
  "mole",
  "moose",
  "newt",
  "otter",
  "owl",
  "panda",
  "puffin",
  "raven",
  "robin",
  "seal",
  "shrew",
  "sloth",
  "stoat",
  "stork",
  "tapir",
  "tiger",
  "toad",
  "viper",
  "walrus",
  "weasel",
  "wolf",
] as const;

/**
 * A readable name that `isTaken` does not know.
 *
 * @param random in [0, 1), as Math.random
 */
export function inventVmName(random: () => number, isTaken: (name: VmName) => boolean): VmName {
  const pick = (words: readonly string[]) => words[Math.floor(random() * words.length)] as string;
  for (let suffix = 0;; suffix++) {
    const base = `${pick(ADJECTIVES)}-${pick(ANIMALS)}`;
    const name = parseVmName(suffix < 20 ? base : `${base}-${suffix}`);
    if (!isTaken(name)) return name;
  }
}
