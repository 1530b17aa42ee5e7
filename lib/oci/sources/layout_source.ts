import { BangerError } from "../../base/errors.ts";
import type { Files } from "../../base/host.ts";
import { quote } from "../../base/names.ts";
import { algorithmOf, type Digest, digestOf, hexOf } from "../model/digest.ts";
import { JsonReader, MAX_JSON_BYTES, parseJson } from "../model/json.ts";
import { type Descriptor, type IndexEntry, parseManifest } from "../model/manifest.ts";
import { readFile } from "../store/read_file.ts";
import type { FetchedManifest, ImageSource } from "./source.ts";

const REF_NAME = "org.opencontainers.image.ref.name";

/**
 * An image in an OCI image-layout directory.
 *
 * @param directory absolute
 * @param choice the tag or digest of one of its images; without it there must be only one
 * Source: OCI image-spec, image-layout.md
 */
export function layoutSource(
  files: Files,
  directory: string,
  choice: string | undefined,
  name = `oci:${directory}`,
): ImageSource {
  const blobPath = (digest: Digest) => `${directory}/blobs/${algorithmOf(digest)}/${hexOf(digest)}`;
  const fetch = async ({ digest, mediaType }: Descriptor): Promise<FetchedManifest> => {
    const bytes = await files.readBytes(blobPath(digest), MAX_JSON_BYTES);
    if (digestOf(bytes, algorithmOf(digest)) !== digest) throw damaged(name, digest);
    return { bytes, mediaType, digest };
  };
  return {
    name,
    place: "host",
    fetchRoot: async () => await fetch(chooseImage(await readEntries(files, directory, name), choice, name)),
    fetchManifest: fetch,
    openBlob: (descriptor, offsetBytes) =>
      Promise.resolve({ offsetBytes, body: readFile(files, blobPath(descriptor.digest), offsetBytes) }),
  };
}

function damaged(name: string, digest: Digest): BangerError {
  return new BangerError("corrupt_data", `Cannot use ${digest} of ${name}: its content has another digest`);
}

async function readEntries(files: Files, directory: string, name: string): Promise<readonly IndexEntry[]> {
  if (await files.stat(`${directory}/oci-layout`) === undefined) {
    throw new BangerError(
      "not_found",
      `Cannot find an image in ${name}: it is no OCI image-layout`,
      "Give the directory that has oci-layout, index.json and blobs in it",
    );
  }
  const what = `oci-layout of ${name}`;
  const marker = new JsonReader(
    parseJson(await files.readBytes(`${directory}/oci-layout`, MAX_JSON_BYTES), what),
    what,
  );
  const version = marker.getString("imageLayoutVersion");
  if (!version.startsWith("1.")) throw marker.fail(`its version ${quote(version)} is unknown`);
  const index = parseManifest(await files.readBytes(`${directory}/index.json`, MAX_JSON_BYTES), undefined);
  if (index.kind !== "index") {
    throw new BangerError("corrupt_data", `Cannot read index.json of ${name}: it is no index`);
  }
  return index.entries;
}

/**
 * The one image that a choice leaves.
 *
 * @param choice a tag or a digest
 * @throws {BangerError} `not_found`, `invalid_argument` where several are left
 */
export function chooseImage(
  entries: readonly IndexEntry[],
  choice: string | undefined,
  name: string,
): IndexEntry {
  const tags = entries.map((entry) => entry.annotations.get(REF_NAME)).filter((tag) => tag !== undefined);
  const fitting = choice === undefined
    ? entries
    : entries.filter((entry) => entry.annotations.get(REF_NAME) === choice || entry.digest === choice);
  // One image under several tags is one image.
  if (new Set(fitting.map((entry) => entry.digest)).size === 1) return fitting[0]!;
  const listed = tags.length === 0 ? "It has no tags" : `It has ${tags.slice(0, 20).map(quote).join(", ")}`;
  if (fitting.length === 0) {
    throw new BangerError("not_found", `Cannot find ${quote(choice ?? "an image")} in ${name}`, listed);
  }
  throw new BangerError(
    "invalid_argument",
    `Cannot choose an image in ${name}: there are ${fitting.length}`,
    `Add :TAG. ${listed}`,
  );
}
