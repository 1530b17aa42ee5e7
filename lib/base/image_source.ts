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

/** The same source for a process with another working directory. @param cwd absolute */
export function absoluteImageSource(text: string, cwd: string): string {
  const source = parseImageSource(text);
  if (source.kind === "registry" || source.path.startsWith("/")) return text;
  return `${source.kind}:${cwd}/${source.path}${source.choice === undefined ? "" : `:${source.choice}`}`;
}
