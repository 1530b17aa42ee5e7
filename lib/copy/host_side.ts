import { BangerError } from "../base/errors.ts";
import type { Host } from "../base/host.ts";
import { quote } from "../base/names.ts";
import { type ByteString, byteStringOfText } from "../base/tree.ts";
import type { TreeWriter } from "../base/tree_writer.ts";
import { TarReader } from "../oci/tar/reader.ts";
import type { SourceKind } from "./guest_side.ts";
import type { SplitPath } from "./places.ts";
import { type Received, type ReceiveOptions, receiveTree } from "./receive.ts";

export type HostSide = Pick<Host, "files" | "processes"> & {
  openTreeWriter(root: string): TreeWriter;
};

/** @throws {BangerError} `not_found` */
export async function lookAtHostSource(
  { files }: Pick<HostSide, "files">,
  path: string,
  { isContents }: SplitPath,
): Promise<SourceKind> {
  const stat = await files.stat(isContents ? `${path}/.` : path.replace(/(?<=.)\/+$/, ""));
  if (!stat) throw new BangerError("not_found", `Cannot copy ${quote(path)}: there is no such file`);
  return stat.kind === "directory" ? "directory" : "other";
}

/**
 * The source as a tar, by the host's own tar: names of any bytes, holes and links are its trade.
 *
 * @throws {BangerError} `wrong_state` where not all of it could be read: whoever takes the stream must not take
 * what came for all
 */
export async function* readHostSource(
  { processes }: Pick<HostSide, "processes">,
  path: string,
  { parent, name, isContents }: SplitPath,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const args = ["-C", isContents ? path : parent, "--format=gnu", "-c", "-f", "-", "--", name];
  const tar = await processes.pipe(
    // What the user's environment has tar do elsewhere is not meant here.
    { program: "tar", args, env: { TAR_OPTIONS: "", LC_ALL: "C" } },
    signal,
  );
  for await (const chunk of tar.stdout) yield chunk;
  const { code, stderr } = await tar.result;
  signal.throwIfAborted();
  if (code === 0) return;
  const [first = ""] = stderr.trim().split("\n");
  throw new BangerError(
    "wrong_state",
    `Cannot read all of ${quote(path)}: ${first === "" ? `tar ended with code ${code}` : first}`,
    "What had come so far was not kept where it is new; mend this and copy once more",
  );
}

export interface HostTarget {
  readonly path: string;
  readonly split: SplitPath;
  readonly kind: SourceKind;
  readonly keepsOwners: boolean;
}

/**
 * Writes an archive of a guest to this host. What is new is staged beside its place and renamed once all is there;
 * a directory that is there already is filled, each file whole or not at all.
 *
 * @param whole resolves once it is known that the archive was all of it
 */
export async function writeHostTarget(
  host: HostSide,
  target: HostTarget,
  archive: AsyncIterable<Uint8Array>,
  whole: () => Promise<void>,
): Promise<Received> {
  const { split, kind } = target;
  const destination = target.path.replace(/(?<=.)\/+$/, "");
  const isDirectory = async (path: string) => (await host.files.stat(`${path}/.`))?.kind === "directory";
  const path = !split.isContents && await isDirectory(destination)
    ? `${destination}/${split.name}`
    : destination;
  if (await isDirectory(path)) return await merge(host, target, path, archive, whole);
  const there = await host.files.stat(path);
  if (there && kind === "directory") {
    throw new BangerError(
      "already_exists",
      `Cannot copy to ${quote(path)}: a file is there, and a directory comes`,
    );
  }
  if (kind === "other" && target.path.endsWith("/")) throw noDirectory(target.path);
  const slash = path.lastIndexOf("/");
  const parent = slash <= 0 ? "/" : path.slice(0, slash);
  if (!(await isDirectory(parent))) throw noDirectory(parent);
  return await placeNew(host, target, { parent, name: path.slice(slash + 1) }, archive, whole);
}

function noDirectory(path: string): BangerError {
  return new BangerError(
    "not_found",
    `Cannot copy to ${quote(path)}: there is no such directory`,
    "Make it first",
  );
}

async function merge(
  { openTreeWriter }: HostSide,
  { split, kind, keepsOwners }: HostTarget,
  path: string,
  archive: AsyncIterable<Uint8Array>,
  whole: () => Promise<void>,
): Promise<Received> {
  if (kind !== "directory") {
    throw new BangerError(
      "already_exists",
      `Cannot copy to ${quote(path)}: a directory of that name is there, and a file comes`,
    );
  }
  using writer = openTreeWriter(path);
  const top = byteStringOfText(split.name);
  const into = "." as ByteString;
  try {
    const options = { top, into, merges: true, keepsOwners };
    return await received(archive, writer, options, whole);
  } catch (thrown) {
    if (!(thrown instanceof BangerError)) throw thrown;
    const hint = [thrown.hint, `What came so far stays in ${quote(path)}`].filter(Boolean).join(". ");
    throw new BangerError(thrown.code, thrown.message, hint, { cause: thrown });
  }
}

async function placeNew(
  { files, openTreeWriter }: HostSide,
  { split, kind, keepsOwners }: HostTarget,
  place: { parent: string; name: string },
  archive: AsyncIterable<Uint8Array>,
  whole: () => Promise<void>,
): Promise<Received> {
  using writer = openTreeWriter(place.parent);
  const staging = `.banger-cp-${crypto.randomUUID().slice(0, 8)}`;
  const into = byteStringOfText(`${staging}/new`);
  writer.makeDirectory(byteStringOfText(staging));
  try {
    const top = byteStringOfText(split.name);
    const options = { top, into, merges: false, keepsOwners };
    const result = await received(archive, writer, options, whole);
    const came = writer.kind(into);
    if (came === undefined || (came === "directory") !== (kind === "directory")) {
      throw new BangerError("guest_failed", "Cannot copy: nothing came from the guest, or not what it said");
    }
    writer.rename(into, byteStringOfText(place.name));
    return result;
  } finally {
    await files.remove(`${place.parent}/${staging}`);
  }
}

/** Lets go of the archive where it is refused: its sender ends then, too. */
async function received(
  archive: AsyncIterable<Uint8Array>,
  writer: TreeWriter,
  options: ReceiveOptions,
  whole: () => Promise<void>,
): Promise<Received> {
  const reader = new TarReader(archive);
  try {
    const result = await receiveTree(reader, writer, options);
    await whole();
    return result;
  } finally {
    await reader.close();
  }
}
