/** What differs between two trees, file by file. */
import { bytesOf, type ByteString } from "../base/tree.ts";
import { splitNul } from "./git.ts";
import { GITLINK_MODE } from "./index_file.ts";
import type { GuestWork } from "./guest_work.ts";
import { BASE_REF } from "./stage.ts";

export interface Change {
  readonly path: ByteString;
  /** A: new, D: gone, M: other content or mode, T: another kind of file. */
  readonly status: "A" | "D" | "M" | "T";
  /** 0 where there is none. */
  readonly oldMode: number;
  readonly newMode: number;
  readonly oldOid: ByteString;
  readonly newOid: ByteString;
  /** Of text; undefined for binary content. */
  readonly lines?: { readonly added: number; readonly removed: number };
}

/** From one tree to another; names of files that are other repositories included. */
export async function changesBetween(
  work: Pick<GuestWork, "read">,
  from: string,
  to: string,
): Promise<Change[]> {
  const common = ["diff-tree", "-r", "-z", "--no-renames", "--no-ext-diff", "--no-textconv", "--full-index"];
  const counts = new Map<ByteString, Change["lines"]>();
  for (const entry of splitNul(await work.read([...common, "--numstat", from, to]))) {
    const match = /^(\d+)\t(\d+)\t([\s\S]*)$/.exec(entry);
    if (match) counts.set(match[3] as ByteString, { added: Number(match[1]), removed: Number(match[2]) });
  }
  const words = splitNul(await work.read([...common, "--raw", "--no-abbrev", from, to]));
  const changes: Change[] = [];
  for (let i = 0; i + 1 < words.length; i += 2) {
    const raw = /^:([0-7]+) ([0-7]+) ([0-9a-f]+) ([0-9a-f]+) ([ADMT])/.exec(words[i]!);
    if (!raw) continue;
    const path = words[i + 1]!;
    const lines = counts.get(path);
    changes.push({
      path,
      status: raw[5] as Change["status"],
      oldMode: parseInt(raw[1]!, 8),
      newMode: parseInt(raw[2]!, 8),
      oldOid: raw[3] as ByteString,
      newOid: raw[4] as ByteString,
      ...(lines ? { lines } : {}),
    });
  }
  return changes;
}

/** The tree that was sent. */
export async function baseTree(work: Pick<GuestWork, "read">): Promise<ByteString> {
  return (await work.read(["rev-parse", "--verify", `${BASE_REF}^{tree}`])).trim() as ByteString;
}

/**
 * The guest's tree without repositories that were put into it: a patch can't carry them.
 *
 * @returns the tree, and what was left out
 */
export async function withoutNewRepositories(work: GuestWork, base: string) {
  const isNew = ({ newMode, oldMode }: Change) => newMode === GITLINK_MODE && oldMode !== GITLINK_MODE;
  const nested = (await changesBetween(work, base, work.tree)).filter(isNew).map(({ path }) => path);
  if (nested.length === 0) return { tree: work.tree, nested };
  const environment = { GIT_INDEX_FILE: `${work.directory}/index-without-nested` };
  await work.read(["read-tree", work.tree], { environment });
  const stdin = bytesOf(nested.map((path) => `${path}\0`).join("") as ByteString);
  await work.read(["update-index", "-z", "--force-remove", "--stdin"], { environment, stdin });
  const tree = (await work.read(["write-tree", "--missing-ok"], { environment })).trim() as ByteString;
  return { tree, nested };
}

/** What `git apply` takes: binary content and modes included, every object's whole id. */
export function patchArguments(from: string, to: string): string[] {
  return [
    "diff-tree",
    "-p",
    "-r",
    "--binary",
    "--full-index",
    "--no-renames",
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    from,
    to,
  ];
}
