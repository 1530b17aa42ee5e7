import { parseImageSource } from "../base/image_source.ts";
import { type ImageName, parseImageName } from "../base/names.ts";
import { parseReference } from "../oci/model/reference.ts";

/** Leaves room for what is added where a name is taken. */
const MAX_LENGTH = 100;
const ARCHIVE_SUFFIX = /(?:\.(?:oci|docker))?\.(?:tar(?:\.(?:gz|zst))?|tgz|tzst|oci)$/i;

/**
 * The name that an image gets where nobody gave it one: the last part of its repository or path, and its tag
 * unless that is `latest`. `docker.io/library/alpine:3.20` is `alpine-3.20`, `oci:/srv/web:v1` is `web-v1`,
 * `tar:/srv/rootfs.tar.gz` is `rootfs`.
 *
 * @param source as `parseImageSource` reads it
 * @throws {BangerError} `invalid_argument` for a reference that is none
 */
export function localName(source: string): ImageName {
  const parsed = parseImageSource(source);
  if (parsed.kind === "registry") {
    const { repository, tag, digest } = parseReference(parsed.reference);
    return joined(lastPart(repository), tag ?? digest?.slice("sha256:".length).slice(0, 8));
  }
  // A tag of `docker save` is a whole reference and says more than the file's name.
  if (parsed.kind === "docker-archive" && parsed.choice) return localName(parsed.choice);
  const tag = parsed.choice?.replace(/^sha\d+:/, "").slice(0, 64);
  return joined(lastPart(parsed.path).replace(ARCHIVE_SUFFIX, ""), tag);
}

/** The names to try, in order: what is taken by another image gets the beginning of the digest behind it. */
export function* nameCandidates(name: ImageName, digest: string): Generator<ImageName> {
  yield name;
  const longer = `${name}-${digest.replace(/^sha\d+:/, "").slice(0, 8)}`;
  yield parseImageName(longer);
  for (let number = 2;; number++) yield parseImageName(`${longer}-${number}`);
}

function joined(base: string, tag: string | undefined): ImageName {
  const text = tag === undefined || tag === "latest" ? base : `${base}-${tag}`;
  const clean = text.toLowerCase().replaceAll(/[^a-z0-9._-]+/g, "-").slice(0, MAX_LENGTH)
    .replaceAll(/^[^a-z0-9]+|[^a-z0-9]+$/g, "");
  return parseImageName(clean === "" ? "image" : clean);
}

function lastPart(path: string): string {
  return path.replace(/\/+$/, "").split("/").at(-1) ?? "";
}
