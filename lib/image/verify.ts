import { Buffer } from "node:buffer";
import { BangerError, reasonOf } from "../base/errors.ts";
import type { Files, Host, Progress } from "../base/host.ts";
import { parseImageSource } from "../base/image_source.ts";
import { MIB } from "../base/units.ts";
import type { FoundImage } from "../oci/images.ts";
import type { Digest } from "../oci/model/digest.ts";
import { parsePlatform } from "../oci/model/platform.ts";
import { formatReference, parseReference } from "../oci/model/reference.ts";
import { imageRootfs, type Paths } from "../store/paths.ts";
import type { ImageRecord } from "../store/records.ts";
import { type Agent, convertToDisk } from "./convert.ts";
import { ociRoot } from "./oci_root.ts";
import { newId, type Publisher } from "./publish.ts";
import { digestOfDisk } from "./registered.ts";
import type { ImageSources } from "./sources.ts";

const COMPARED_BYTES = 4 * MIB;

interface VerifyOptions {
  readonly paths: Pick<Paths, "imagesDirectory">;
  readonly agent: Agent;
  readonly sources: ImageSources;
  readonly platform: string;
}

/**
 * Makes an image's disk once more from what it was made from, and compares every byte. A registered disk is compared
 * with its digest.
 *
 * @throws {BangerError} `corrupt_data` where it is another; `source_unavailable` where the source is gone;
 * `wrong_state` for an image with another build's agent; `host_unsupported` for a recipe's
 */
export async function verifyImage(
  host: Pick<Host, "files" | "log">,
  options: VerifyOptions,
  publisher: Pick<Publisher, "makeStaging">,
  image: ImageRecord,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const { files } = host;
  const own = imageRootfs(options.paths, image);
  if (image.source.startsWith("file:")) {
    progress.stage("Take its digest");
    const digest = await digestOfDisk(files, own, image.sizeBytes, progress, signal);
    if (digest !== image.digest) throw differs(image, "its digest is not what it was when it was registered");
    return;
  }
  requireReproducible(image, options.agent.buildId);
  progress.stage(`Look up ${image.source}`);
  const found = await findAgain(options, image, signal);
  const staging = await publisher.makeStaging(newId());
  try {
    const path = `${staging}/rootfs.ext4`;
    const source = {
      ...ociRoot(found, image.digest),
      ...(image.requestedSizeBytes === undefined ? {} : { sizeBytes: image.requestedSizeBytes }),
    };
    await convertToDisk(host, source, path, options.agent, progress, signal);
    progress.stage("Compare");
    const at = await firstDifference(files, own, path, signal);
    if (at !== undefined) throw differs(image, `from byte ${at} on it is not what its source gives`);
  } finally {
    await files.remove(staging);
  }
}

function differs({ name }: ImageRecord, why: string): BangerError {
  return new BangerError(
    "corrupt_data",
    `Cannot trust image ${name}: ${why}`,
    `Remove it and its machines, and pull it again: banger image rm ${name}`,
  );
}

function requireReproducible({ name, source, agentBuild }: ImageRecord, ownBuild: string): void {
  if (source.startsWith("recipe:")) {
    throw new BangerError(
      "host_unsupported",
      `Cannot verify image ${name}: ${source} is made from packages as they are today`,
      "Only images of references and archives can be made again",
    );
  }
  if (agentBuild === ownBuild) return;
  throw new BangerError(
    "wrong_state",
    `Cannot verify image ${name}: the agent in it is of build ${agentBuild}, and this is ${ownBuild}`,
    `Pull it again to have this build's: banger image pull ${source}`,
  );
}

/** First in the content store, which needs nobody; then where it came from. */
async function findAgain(
  { sources, platform: hostPlatform }: VerifyOptions,
  image: ImageRecord,
  signal: AbortSignal,
): Promise<FoundImage> {
  const platform = parsePlatform(image.platform ?? hostPlatform);
  const parsed = parseImageSource(image.source);
  try {
    return await sources.findStored(image.digest, platform, signal);
  } catch (thrown) {
    if (!isMissing(thrown)) throw thrown;
  }
  try {
    const text = parsed.kind === "registry"
      ? formatReference({
        ...parseReference(parsed.reference),
        tag: undefined,
        digest: image.digest as Digest,
      })
      : image.source;
    const found = await sources.find(text, platform, signal);
    if (found.digest === undefined || found.digest === image.digest) return found;
  } catch (thrown) {
    if (!isMissing(thrown)) throw thrown;
    throw sourceGone(image, reasonOf(thrown));
  }
  throw sourceGone(image, "its source is another image now");
}

function isMissing(thrown: unknown): boolean {
  return thrown instanceof BangerError &&
    ["not_found", "corrupt_data", "source_unavailable"].includes(thrown.code);
}

function sourceGone({ name, source }: ImageRecord, why: string): BangerError {
  return new BangerError(
    "source_unavailable",
    `Cannot verify image ${name}: what it was made from is gone (${why})`,
    `Make ${source} available again`,
  );
}

/** @returns the offset of the first byte that is not the same */
async function firstDifference(
  files: Pick<Files, "open">,
  a: string,
  b: string,
  signal: AbortSignal,
): Promise<number | undefined> {
  await using left = await files.open(a, { read: true });
  await using right = await files.open(b, { read: true });
  const [x, y] = [new Uint8Array(COMPARED_BYTES), new Uint8Array(COMPARED_BYTES)];
  for (let at = 0;; at += COMPARED_BYTES) {
    signal.throwIfAborted();
    const [inX, inY] = await Promise.all([left.readAt(x, at), right.readAt(y, at)]);
    const length = Math.min(inX, inY);
    if (Buffer.compare(x.subarray(0, length), y.subarray(0, length)) !== 0) {
      return at + x.findIndex((byte, index) => byte !== y[index]);
    }
    if (inX !== inY) return at + length;
    if (length < COMPARED_BYTES) return undefined;
  }
}
