/**
 * The files of a guest that has no git, brought back as data: a tar of its working tree becomes objects by
 * the host's git in a directory that is thrown away afterwards. Nothing is extracted.
 */
import { bytesOf, type ByteString } from "../base/tree.ts";
import type { Files } from "../base/host.ts";
import { TarReader } from "../oci/tar/reader.ts";
import type { TarEntry } from "../oci/tar/entry.ts";
import { type HostGit, type OwnPlace, splitNul } from "./git.ts";

/** Holds what fast-import makes until its tree is known. */
const DATA_REF = "refs/banger/data";
const EXECUTABLE = 0o100;

type Deps = { readonly git: HostGit; readonly files: Pick<Files, "makeDirectory" | "readStream"> };

/**
 * @param tar path of what the guest sent, on the host
 * @param directory for files of ours beside the objects
 * @param isCopy nothing in it is ignored
 * @returns the tree of all files that git would not ignore, and of ignored ones that were sent
 */
export async function treeOfTar(
  { git, files }: Deps,
  place: OwnPlace,
  tar: string,
  directory: string,
  base: string,
  isCopy: boolean,
): Promise<ByteString> {
  const stdin = importCommands(new TarReader(files.readStream(tar)));
  await git.read(place, ["fast-import", "--quiet", "--force"], { stdin });
  try {
    const all = (await git.read(place, ["rev-parse", `${DATA_REF}^{tree}`])).trim() as ByteString;
    return isCopy ? all : await withoutIgnored({ git, files }, place, all, directory, base);
  } finally {
    await git.read(place, ["update-ref", "-d", DATA_REF]);
  }
}

/** Source: git-fast-import(1), "Input Format" */
async function* importCommands(reader: TarReader): AsyncGenerator<Uint8Array> {
  const text = (line: string) => bytesOf(line as ByteString);
  yield text(`commit ${DATA_REF}\ncommitter banger <banger@localhost> 0 +0000\ndata 0\n`);
  for (let entry = await reader.nextEntry(); entry; entry = await reader.nextEntry()) {
    const path = trackedPath(entry.path);
    if (path === undefined) continue;
    if (entry.kind === "symlink") {
      yield text(`M 120000 inline ${quoted(path)}\ndata ${entry.linkTarget.length}\n${entry.linkTarget}\n`);
    } else if (entry.kind === "hard-link") {
      const source = trackedPath(entry.linkTarget);
      if (source !== undefined) yield text(`C ${quoted(source)} ${quoted(path)}\n`);
    } else if (entry.kind === "file") {
      yield text(`M ${modeOf(entry)} inline ${quoted(path)}\ndata ${entry.sizeBytes}\n`);
      // A chunk is valid until the next one only.
      for (let chunk = await reader.nextChunk(); chunk; chunk = await reader.nextChunk()) yield chunk.slice();
      yield text("\n");
    }
  }
}

function modeOf({ attributes }: TarEntry): string {
  return (attributes.mode & EXECUTABLE) === 0 ? "100644" : "100755";
}

/** @returns undefined for what git would not track: its own directories, and names that are no names */
function trackedPath(path: ByteString): ByteString | undefined {
  const names = path.split("/").filter((name) => name !== "" && name !== ".");
  const isOdd = names.some((name) => name === ".." || name.toLowerCase() === ".git");
  return names.length === 0 || isOdd ? undefined : names.join("/") as ByteString;
}

/** As C strings: every byte but plain ones in octal. */
function quoted(path: ByteString): string {
  const plain = path.replaceAll(
    /[^A-Za-z0-9_./ -]/g,
    (byte) => `\\${byte.charCodeAt(0).toString(8).padStart(3, "0")}`,
  );
  return `"${plain}"`;
}

/** The .gitignore files are read from the tree itself: a checkout is not needed, only a place without one. */
async function withoutIgnored(
  { git, files }: Deps,
  place: OwnPlace,
  all: ByteString,
  directory: string,
  base: string,
): Promise<ByteString> {
  const workTree = `${directory}/nothing`;
  await files.makeDirectory(workTree, 0o700);
  const there: OwnPlace = { ...place, workTree };
  const environment = { GIT_INDEX_FILE: `${directory}/index-of-data` };
  const list = (paths: readonly ByteString[]) =>
    bytesOf(paths.map((path) => `${path}\0`).join("") as ByteString);
  await git.read(there, ["read-tree", all], { environment });
  const names = splitNul(await git.read(there, ["ls-files", "-z"], { environment }));
  const rules = names.filter((path) => path === ".gitignore" || path.endsWith("/.gitignore"));
  // What is not checked out is read from the index instead.
  await git.read(there, ["update-index", "-z", "--skip-worktree", "--stdin"], {
    environment,
    stdin: list(rules),
  });
  const asked = [
    ...["ls-files", "-z", "--cached", "--ignored", "--exclude-per-directory=.gitignore"],
    `--exclude-from=${place.gitDirectory}/info/exclude`,
  ];
  const sent = new Set(splitNul(await git.read(there, ["ls-tree", "-r", "-z", "--name-only", base])));
  const ignored = splitNul(await git.read(there, asked, { environment })).filter((path) => !sent.has(path));
  await git.read(there, ["update-index", "-z", "--force-remove", "--stdin"], {
    environment,
    stdin: list(ignored),
  });
  return (await git.read(there, ["write-tree", "--missing-ok"], { environment })).trim() as ByteString;
}
