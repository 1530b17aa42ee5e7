import type { Files } from "../base/host.ts";
import type { VmId } from "../base/names.ts";
import { byteStringOfText, emptyDirectory, EPOCH } from "../base/tree.ts";
import { uuidFromSeed } from "../base/uuid.ts";
import { FilesystemWriter, openFilesystem } from "../ext4/mod.ts";
import { imageRootfs, type Paths, vmPaths } from "../store/paths.ts";
import type { ImageRecord } from "../store/records.ts";

/** The work disk's top directory is the guest's /root: root's own, and readable for the services in the guest. */
const WORK_DIRECTORY_MODE = 0o755;

/**
 * Makes the work disk: an ext4 filesystem with what the image has in /root. It costs that content, not
 * the disk's size. Not synced.
 */
export async function makeWorkDisk(
  files: Files,
  paths: Paths,
  image: ImageRecord,
  id: VmId,
  sizeBytes: number,
): Promise<void> {
  await using source = await files.open(imageRootfs(paths, image), { read: true });
  await using target = await files.open(vmPaths(paths, id).workDisk, {
    read: true,
    write: true,
    createNew: true,
    mode: 0o600,
  });
  const uuid = uuidFromSeed(`work disk of ${id}`);
  await using writer = await FilesystemWriter.create(target, {
    uuid,
    label: "work",
    timestamp: EPOCH,
    sizeBytes,
  });
  const filesystem = await openFilesystem(source);
  const seed = await filesystem.copyTree(byteStringOfText("/root"), writer);
  const root = emptyDirectory(WORK_DIRECTORY_MODE, seed?.attributes.mtime);
  for (const [name, inode] of seed?.entries ?? []) root.entries.set(name, inode);
  await writer.finish(root);
}
