import { BLOCK_SIZE, INODE_SIZE } from "./format.ts";
import type { Layout } from "./geometry.ts";
import type { GroupPlaces } from "./groups.ts";
import { encodeInode, inodeChecksumSeed, type InodeFields } from "./inode.ts";
import { RecordStream, type SerialOutput } from "./output.ts";

/** Writes inodes in the order of their numbers; gaps stay zero. */
export class InodeTableWriter {
  readonly #layout: Layout;
  readonly #places: GroupPlaces;
  readonly #checksumSeed: number;
  readonly #records: RecordStream;
  readonly #record = new Uint8Array(INODE_SIZE);
  readonly #directories: number[] = [];
  #last = 0;

  constructor(layout: Layout, places: GroupPlaces, output: SerialOutput, checksumSeed: number) {
    this.#layout = layout;
    this.#places = places;
    this.#checksumSeed = checksumSeed;
    this.#records = new RecordStream(output);
  }

  /**
   * @param inodeNumber higher than all before
   * @returns undefined where nothing needs to be waited for, as for most
   */
  write(inodeNumber: number, inode: InodeFields, isDirectory: boolean): Promise<void> | undefined {
    const group = Math.floor((inodeNumber - 1) / this.#layout.inodesPerGroup);
    const index = (inodeNumber - 1) % this.#layout.inodesPerGroup;
    if (isDirectory) this.#directories[group] = (this.#directories[group] ?? 0) + 1;
    encodeInode(inode, inodeChecksumSeed(this.#checksumSeed, inodeNumber), this.#record);
    this.#last = inodeNumber;
    const offsetBytes = this.#places.of(group).inodeTable * BLOCK_SIZE + index * INODE_SIZE;
    return this.#records.appendNow(this.#record, offsetBytes)
      ? undefined
      : this.#appendAt(this.#record, offsetBytes);
  }

  async #appendAt(record: Uint8Array, offsetBytes: number): Promise<void> {
    await this.#records.moveTo(offsetBytes);
    await this.#records.append(record);
  }

  flush(): Promise<void> {
    return this.#records.flush();
  }

  /** Inodes in use: all up to the last one written, since the special ones are never free. */
  get usedInodes(): number {
    return this.#last;
  }

  usedInodesOf(group: number): number {
    const { inodesPerGroup } = this.#layout;
    return Math.min(Math.max(this.#last - group * inodesPerGroup, 0), inodesPerGroup);
  }

  directoriesOf(group: number): number {
    return this.#directories[group] ?? 0;
  }
}
