import { BangerError } from "../../base/errors.ts";
import { quote } from "../../base/names.ts";
import { type Digest, isDigest } from "./digest.ts";

/** Where an image is in a registry. */
export interface Reference {
  /** Host, with a port where one was given. */
  readonly registry: string;
  /** `library/alpine` */
  readonly repository: string;
  readonly tag: string | undefined;
  /** Where both are there, the digest decides. */
  readonly digest: Digest | undefined;
}

export const DOCKER_HUB = "docker.io";
const DEFAULT_TAG = "latest";

const HOST =
  /^(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9a-fA-F:]+\])(?::\d{1,5})?$/;
const PATH_COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const TAG = /^\w[\w.-]{0,127}$/;
const MAX_NAME_LENGTH = 255;

/**
 * Reads a reference as Docker does: `alpine` is `docker.io/library/alpine:latest`.
 *
 * @throws {BangerError} `invalid_argument`
 * Source: distribution/reference, grammar in reference.go; distribution-spec, "Pulling manifests"
 */
export function parseReference(text: string): Reference {
  const { rest, digest } = splitDigest(text);
  // A colon after the last slash begins a tag; before it, a port.
  const colon = rest.indexOf(":", rest.lastIndexOf("/") + 1);
  const tag = colon < 0 ? undefined : rest.slice(colon + 1);
  if (tag !== undefined && !TAG.test(tag)) throw bad(text, `${quote(tag)} is no tag`);
  const { registry, repository } = splitRegistry(colon < 0 ? rest : rest.slice(0, colon), text);
  for (const component of repository.split("/")) {
    if (!PATH_COMPONENT.test(component)) {
      throw bad(
        text,
        component === "" ? "a part of its name is empty" : `${quote(component)} is no part of a name`,
      );
    }
  }
  if (registry.length + 1 + repository.length > MAX_NAME_LENGTH) {
    throw bad(text, `its name is longer than ${MAX_NAME_LENGTH} characters`);
  }
  return { registry, repository, tag: tag ?? (digest === undefined ? DEFAULT_TAG : undefined), digest };
}

function splitDigest(text: string): { rest: string; digest: Digest | undefined } {
  const at = text.indexOf("@");
  if (at < 0) return { rest: text, digest: undefined };
  const digest = text.slice(at + 1);
  if (!isDigest(digest)) throw bad(text, "what follows the @ is no sha256 or sha512 digest");
  return { rest: text.slice(0, at), digest };
}

/** The first part is a registry if it could not be a part of a name: Docker's rule. */
function splitRegistry(name: string, text: string): { registry: string; repository: string } {
  const slash = name.indexOf("/");
  const first = slash < 0 ? "" : name.slice(0, slash);
  const isHost = first !== "" && (/[.:A-Z\[]/.test(first) || first === "localhost");
  let registry = isHost ? first : DOCKER_HUB;
  let repository = isHost ? name.slice(slash + 1) : name;
  if (!HOST.test(registry)) throw bad(text, `${quote(registry)} is no registry`);
  if (registry === "index.docker.io" || registry === "registry-1.docker.io") registry = DOCKER_HUB;
  if (registry === DOCKER_HUB && !repository.includes("/") && repository !== "") {
    repository = `library/${repository}`;
  }
  return { registry, repository };
}

function bad(text: string, why: string): BangerError {
  return new BangerError(
    "invalid_argument",
    `Cannot use ${quote(text)} as an image reference: ${why}`,
    hintFor(text),
  );
}

function hintFor(text: string): string {
  if (/^[./~]/.test(text)) {
    return "For a file say what it is: tar:FILE, docker-archive:FILE, oci-archive:FILE, or oci:DIRECTORY";
  }
  const form = "Write [registry/]name[:tag][@digest], such as alpine:3.20 or ghcr.io/owner/name:tag";
  return /^https?:\/\//.test(text) ? `${form}, without http://` : form;
}

/** In full, and what `parseReference` reads back. */
export function formatReference(reference: Reference): string {
  const { registry, repository, tag, digest } = reference;
  return `${registry}/${repository}${tag === undefined ? "" : `:${tag}`}${
    digest === undefined ? "" : `@${digest}`
  }`;
}
