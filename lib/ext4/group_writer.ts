import { crc32c } from "./crc32c.ts";
import { encodeDescriptor } from "./descriptor.ts";
import { BLOCK_SIZE, BLOCKS_PER_GROUP, DESCRIPTOR_SIZE, GROUP_FLAG, SUPERBLOCK_OFFSET } from "./format.ts";
import { backupGroups, type Layout } from "./geometry.ts";
import type { GroupPlaces } from "./groups.ts";
import type { InodeFields } from "./inode.ts";
import type { InodeTableWriter } from "./inode_table.ts";
import { RecordStream, type SerialOutput } from "./output.ts";
import { encodeSuperblock, type Identity } from "./superblock.ts";
import { type BlockUsage, countOnes, setBits } from "./usage.ts";

export interface GroupParts {
  readonly identity: Identity;
  readonly layout: Layout;
  readonly places: GroupPlaces;
  readonly usage: BlockUsage;
  readonly table: InodeTableWriter;
  readonly output: SerialOutput;
  readonly journal: InodeFields | undefined;
}

/** What the descriptor of one group says about a bitmap of it. */
interface BitmapState {
  readonly free: number;
  readonly checksum: number;
  readonly flags: number;
}

/**
 * Writes bitmaps, descriptors and superblocks with all their copies, the primary superblock last.
 *
 * @param setFileSize called once all else is written
 */
export async function writeGroups(
  parts: GroupParts,
  setFileSize: () => Promise<void>,
): Promise<{ freeBlocks: number }> {
  const { layout, output, places, table, identity } = parts;
  const blockStates = await writeBlockBitmaps(parts);
  const inodeStates = await writeInodeBitmaps(parts);
  const descriptors = new Uint8Array(layout.descriptorBlocks * BLOCK_SIZE);
  let freeBlocks = 0;
  for (let group = 0; group < layout.groupCount; group++) {
    const blocks = blockStates.get(group) ?? homeBlocks(parts, group);
    const inodes = inodeStates.get(group) ??
      { free: layout.inodesPerGroup, checksum: 0, flags: GROUP_FLAG.inodeUninit };
    freeBlocks += blocks.free;
    const descriptor = {
      ...places.of(group),
      freeBlocks: blocks.free,
      freeInodes: inodes.free,
      usedDirectories: table.directoriesOf(group),
      unusedInodes: inodes.free,
      flags: blocks.flags | inodes.flags | GROUP_FLAG.inodeZeroed,
      blockBitmapChecksum: blocks.checksum,
      inodeBitmapChecksum: inodes.checksum,
    };
    const at = group * DESCRIPTOR_SIZE;
    encodeDescriptor(
      descriptor,
      group,
      identity.checksumSeed,
      descriptors.subarray(at, at + DESCRIPTOR_SIZE),
    );
  }
  const fields = {
    identity,
    layout,
    freeBlocks,
    freeInodes: layout.inodesPerGroup * layout.groupCount - table.usedInodes,
    overheadBlocks: places.overheadBlocks,
    journal: parts.journal,
  };
  for (const group of [...backupGroups(layout.groupCount), 0]) {
    const start = group * BLOCKS_PER_GROUP * BLOCK_SIZE;
    await output.write(descriptors, start + BLOCK_SIZE);
    if (group > 0) await output.write(encodeSuperblock(fields, group), start);
  }
  await output.settle();
  await setFileSize();
  await output.write(encodeSuperblock(fields, 0), SUPERBLOCK_OFFSET);
  await output.settle();
  return { freeBlocks };
}

/** A group with nothing but its own metadata: the kernel makes its bitmap when it needs it. */
function homeBlocks({ layout, places }: GroupParts, group: number): BitmapState {
  const free = BLOCKS_PER_GROUP - places.backupBlocks(group) - 2 - layout.inodeTableBlocks;
  return { free, checksum: 0, flags: GROUP_FLAG.blockUninit };
}

async function writeBlockBitmaps(
  { places, usage, output, identity }: GroupParts,
): Promise<Map<number, BitmapState>> {
  const states = new Map<number, BitmapState>();
  const records = new RecordStream(output);
  for (const group of places.displacedGroups()) {
    const bits = usage.group(group);
    await records.moveTo(places.of(group).blockBitmap * BLOCK_SIZE);
    await records.append(bits);
    const free = BLOCKS_PER_GROUP - countOnes(bits);
    states.set(group, { free, checksum: crc32c(identity.checksumSeed, bits), flags: 0 });
  }
  await records.flush();
  return states;
}

async function writeInodeBitmaps(parts: GroupParts): Promise<Map<number, BitmapState>> {
  const { places, output, identity, layout, table } = parts;
  const states = new Map<number, BitmapState>();
  const records = new RecordStream(output);
  for (let group = 0; table.usedInodesOf(group) > 0; group++) {
    const used = table.usedInodesOf(group);
    const bits = new Uint8Array(BLOCK_SIZE);
    setBits(bits, 0, used);
    setBits(bits, layout.inodesPerGroup, BLOCK_SIZE * 8 - layout.inodesPerGroup);
    await records.moveTo(places.of(group).inodeBitmap * BLOCK_SIZE);
    await records.append(bits);
    const checksum = crc32c(identity.checksumSeed, bits.subarray(0, layout.inodesPerGroup / 8));
    states.set(group, { free: layout.inodesPerGroup - used, checksum, flags: 0 });
  }
  await records.flush();
  return states;
}
