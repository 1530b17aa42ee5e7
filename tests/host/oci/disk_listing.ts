/** A disk as the same plain data as a directory: read by lib/ext4, judged by e2fsck. */
import { createHash } from "node:crypto";
import type { DirectoryInode, FileInode } from "../../../lib/base/tree.ts";
import { openFilesystem } from "../../../lib/ext4/reader.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { type Listing, listTree } from "./listing.ts";
import { run } from "./tools.ts";

/**
 * The tree of an ext4 disk; what mke2fs makes for itself (`lost+found`) is left out.
 *
 * @param isHashed contents that are not show their size
 */
export async function listDisk(
  path: string,
  isHashed: (file: FileInode) => boolean = () => true,
): Promise<Listing> {
  await run("e2fsck", ["-fn", path]);
  await using disk = await realHost().files.open(path, { read: true });
  const reader = await openFilesystem(disk);
  const root = await reader.readTree();
  const contents = new Map<FileInode, string>();
  for (const inode of filesOf(root)) {
    if (!isHashed(inode)) {
      contents.set(inode, `${inode.content.sizeBytes} bytes`);
      continue;
    }
    const digest = createHash("sha256");
    for await (const chunk of reader.readContent(inode.content)) digest.update(chunk);
    contents.set(inode, digest.digest("hex"));
  }
  const listing = listTree(root, (inode) => contents.get(inode)!);
  delete listing["lost+found"];
  return listing;
}

function filesOf(root: DirectoryInode): FileInode[] {
  const files: FileInode[] = [];
  const pending = [root];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    for (const inode of next.entries.values()) {
      if (inode.kind === "directory") pending.push(inode);
      else if (inode.kind === "file") files.push(inode);
    }
  }
  return files;
}
