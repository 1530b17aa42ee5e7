import { BangerError } from "./errors.ts";
import { quote } from "./names.ts";

/** Sources of images that are paths on this host, as a user writes them: `tar:FILE`. */
const PATH_KINDS = ["oci", "oci-archive", "docker-archive", "tar"] as const;
export type ImagePathKind = (typeof PATH_KINDS)[number];

interface PathSource<Kind extends ImagePathKind> {
  readonly kind: Kind;
  readonly path: string;
  /** The tag or digest after the path; undefined where there is none. */
  readonly choice: string | undefined;
}

export type ImageSourceName =
  | { readonly kind: "registry"; readonly reference: string }
  | { [Kind in ImagePathKind]: PathSource<Kind> }[ImagePathKind];

/**
 * Splits what a user wrote: `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:TAG]`, `tar:FILE`,
 * or a reference, with or without skopeo's `docker://` in front.
 *
 * A colon after the last slash of a path begins a tag, except in `tar:`; a path that has one itself is written
 * with a tag or a slash at its end.
 *
 * @throws {BangerError} `invalid_argument` for an empty path
 */
export function parseImageSource(text: string): ImageSourceName {
  const kind = PATH_KINDS.find((candidate) => text.startsWith(`${candidate}:`));
  if (kind === undefined) return { kind: "registry", reference: text.replace(/^docker:\/\//, "") };
  const rest = text.slice(kind.length + 1);
  // docker-archive's tags are references and have slashes and colons of their own.
  const colon = kind === "tar"
    ? -1
    : rest.indexOf(":", kind === "docker-archive" ? 0 : rest.lastIndexOf("/") + 1);
  const path = colon < 0 ? rest : rest.slice(0, colon);
  if (path === "") {
    throw new BangerError(
      "invalid_argument",
      `Cannot use ${quote(text)} as an image: it has no path`,
      `Write ${kind}:PATH`,
    );
  }
  return { kind, path, choice: colon < 0 ? undefined : rest.slice(colon + 1) };
}

const MAX_LENGTH = 1024;

/**
 * Whether it can only be a name: of an image here, or of the catalog. References have a slash, a tag or a digest,
 * so that a slip of the pen never asks a registry.
 */
export function isBareName(text: string): boolean {
  return !/[/:@]/.test(text);
}

/**
 * What stands where an image is asked for: the name or id of one that is here, a name of the catalog, or a source.
 * Whether a reference is one, only its registry room can tell.
 *
 * @throws {BangerError} `invalid_argument` for what can be neither
 */
export function parseImageRequest(text: string): string {
  const why = imageRequestProblem(text);
  if (why === undefined) return text;
  throw new BangerError(
    "invalid_argument",
    `Cannot use ${quote(text)} as an image: ${why}`,
    "Give a name (banger image list), a reference such as docker.io/library/alpine:3.20, or a path such as tar:/FILE",
  );
}

function imageRequestProblem(text: string): string | undefined {
  if (text === "") return "it is empty";
  if (text.length > MAX_LENGTH) return `it is longer than ${MAX_LENGTH} characters`;
  // deno-lint-ignore no-control-regex
  if (/[\u0000-\u001f\u007f]/.test(text)) return "it has control characters";
  const source = parseImageSource(text);
  if (source.kind !== "registry") return source.path.startsWith("/") ? undefined : "its path is not absolute";
  return /\s/.test(text) ? "it has a space" : undefined;
}

/** The same source for a process with another working directory. @param cwd absolute */
export function absoluteImageSource(text: string, cwd: string): string {
  const source = parseImageSource(text);
  if (source.kind === "registry" || source.path.startsWith("/")) return text;
  return `${source.kind}:${cwd}/${source.path}${source.choice === undefined ? "" : `:${source.choice}`}`;
}
