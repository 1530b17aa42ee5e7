import { readFully } from "./bytes.ts";
import { decodeDescriptor } from "./descriptor.ts";
import { type DecodedInode, decodeInode, inodeChecksumFits, inodeChecksumSeed } from "./inode.ts";
import { type ReadableDisk, type Superblock, unreadable } from "./superblock_reader.ts";

const WINDOW_BYTES = 65536;
const MAX_WINDOWS = 32;

/** Reads inodes by number, with a small cache of table windows. */
export class InodeReader {
  readonly #disk: ReadableDisk;
  readonly #superblock: Superblock;
  readonly #tables = new Map<number, number>();
  /** By disk offset; the least recently used comes first. */
  readonly #windows = new Map<number, Uint8Array>();

  constructor(disk: ReadableDisk, superblock: Superblock) {
    this.#disk = disk;
    this.#superblock = superblock;
  }

  /** @throws {BangerError} `corrupt_data` */
  async read(inodeNumber: number): Promise<DecodedInode> {
    const { inodeCount, inodesPerGroup, inodeSize, checksumSeed } = this.#superblock;
    if (inodeNumber < 1 || inodeNumber > inodeCount) throw unreadable(`there is no inode ${inodeNumber}`);
    const group = Math.floor((inodeNumber - 1) / inodesPerGroup);
    const index = (inodeNumber - 1) % inodesPerGroup;
    const offset = await this.#tableOf(group) + index * inodeSize;
    const windowStart = offset - (offset % WINDOW_BYTES);
    const window = await this.#window(windowStart);
    const bytes = window.subarray(offset - windowStart, offset - windowStart + inodeSize);
    if (bytes.length < inodeSize) throw unreadable("an inode table goes beyond the disk");
    const inode = decodeInode(bytes);
    if (checksumSeed !== undefined) {
      const seed = inodeChecksumSeed(checksumSeed, inodeNumber, inode.generation);
      if (!inodeChecksumFits(bytes, seed)) throw unreadable(`the checksum of inode ${inodeNumber} is wrong`);
    }
    return inode;
  }

  /** @returns where a group's inode table begins, in bytes */
  async #tableOf(group: number): Promise<number> {
    const known = this.#tables.get(group);
    if (known !== undefined) return known;
    const { blockSize, firstDataBlock, descriptorSize, blockCount } = this.#superblock;
    const at = (firstDataBlock + 1) * blockSize + group * descriptorSize;
    const { inodeTable } = decodeDescriptor(await readFully(this.#disk, at, descriptorSize));
    if (inodeTable === 0 || inodeTable >= blockCount) throw unreadable(`group ${group} has no inode table`);
    this.#tables.set(group, inodeTable * blockSize);
    return inodeTable * blockSize;
  }

  async #window(start: number): Promise<Uint8Array> {
    let window = this.#windows.get(start);
    if (window) {
      this.#windows.delete(start);
    } else {
      const buffer = new Uint8Array(WINDOW_BYTES);
      window = buffer.subarray(0, await this.#disk.readAt(buffer, start));
      if (this.#windows.size >= MAX_WINDOWS) this.#windows.delete(this.#windows.keys().next().value!);
    }
    this.#windows.set(start, window);
    return window;
  }
}
