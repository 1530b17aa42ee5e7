import { BangerError } from "../../base/errors.ts";
import { quote } from "../../base/names.ts";

/** As Go spells them: `linux`, `amd64`. */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant: string | undefined;
}

const PART = /^[a-z0-9_.-]{1,32}$/;

/** Names that people and kernels use. */
const ALIASES: ReadonlyMap<string, readonly [architecture: string, variant?: string]> = new Map([
  ["x86_64", ["amd64"]],
  ["x86-64", ["amd64"]],
  ["aarch64", ["arm64"]],
  ["armhf", ["arm", "v7"]],
  ["armel", ["arm", "v6"]],
  ["i386", ["386"]],
  ["i686", ["386"]],
]);

/**
 * Reads `os/architecture[/variant]`, or an architecture alone for Linux.
 *
 * @throws {BangerError} `invalid_argument`
 */
export function parsePlatform(text: string): Platform {
  const parts = text.toLowerCase().split("/");
  const [os, name, variant] = parts.length === 1 ? ["linux", parts[0]] : parts;
  if (parts.length > 3 || [os, name, variant].some((part) => part !== undefined && !PART.test(part))) {
    throw new BangerError(
      "invalid_argument",
      `Cannot use ${quote(text)} as a platform`,
      "Write os/architecture, such as linux/amd64 or linux/arm64",
    );
  }
  const [architecture, impliedVariant] = ALIASES.get(name!) ?? [name!];
  return { os: os!, architecture, variant: variant ?? impliedVariant };
}

export function formatPlatform({ os, architecture, variant }: Platform): string {
  return variant === undefined || variant === ""
    ? `${os}/${architecture}`
    : `${os}/${architecture}/${variant}`;
}

/**
 * How well an image for `offered` runs on `wanted`: the higher the better.
 *
 * An x86-64 image that asks for a newer level than was wanted may use instructions that are not there; a 32-bit
 * ARM one runs on newer variants too.
 *
 * @returns undefined where it does not
 */
export function platformScore(offered: Platform, wanted: Platform): number | undefined {
  if (offered.os !== wanted.os || offered.architecture !== wanted.architecture) return undefined;
  const level = variantLevel(offered);
  const most = variantLevel(wanted);
  if (level === undefined || most === undefined) return offered.variant === wanted.variant ? 0 : undefined;
  return level <= most ? level : undefined;
}

/** Defaults as containerd has them: arm is v7, arm64 v8, amd64 v1. */
function variantLevel({ architecture, variant }: Platform): number | undefined {
  const fallback = { arm: 7, arm64: 8, amd64: 1 }[architecture];
  if (variant === undefined || variant === "") return fallback ?? 0;
  const match = /^v(\d{1,2})$/.exec(variant);
  return match === null ? undefined : Number(match[1]);
}
