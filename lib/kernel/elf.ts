import { BangerError } from "../base/errors.ts";
import type { RandomAccessFile } from "../base/host.ts";

const ELFCLASS64 = 2;
const ELFDATA2LSB = 1;
const HEADER_BYTES = 64;
const SECTION_HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const PT_INTERP = 3;
const PT_NOTE = 4;
const MAX_NOTES_BYTES = 64 * 1024;
const SHT_NOBITS = 8;

/** @returns whether these bytes begin a 64-bit little-endian ELF file */
export function isElf64(head: Uint8Array): boolean {
  return head.length >= HEADER_BYTES && head[0] === 0x7f && head[1] === 0x45 && head[2] === 0x4c &&
    head[3] === 0x46 && head[4] === ELFCLASS64 && head[5] === ELFDATA2LSB;
}

/**
 * The content of a section by name, such as `.modinfo` of a kernel module.
 *
 * @param what names the file in errors
 * @returns undefined where there is no such section
 * @throws {BangerError} `corrupt_data` where it is no ELF file or an offset points outside
 */
export function findElfSection(elf: Uint8Array, name: string, what: string): Uint8Array | undefined {
  if (!isElf64(elf)) throw corrupt(what, "it is no 64-bit ELF file");
  const view = new DataView(elf.buffer, elf.byteOffset, elf.byteLength);
  const tableOffset = Number(view.getBigUint64(40, true));
  const count = view.getUint16(60, true);
  const namesIndex = view.getUint16(62, true);
  if (tableOffset + count * SECTION_HEADER_BYTES > elf.length || namesIndex >= count) {
    throw corrupt(what, "its section table lies outside the file");
  }
  const content = (index: number): Uint8Array => {
    const at = tableOffset + index * SECTION_HEADER_BYTES;
    const offset = Number(view.getBigUint64(at + 24, true));
    const size = Number(view.getBigUint64(at + 32, true));
    if (view.getUint32(at + 4, true) === SHT_NOBITS) return elf.subarray(0, 0);
    if (offset + size > elf.length) throw corrupt(what, "a section lies outside the file");
    return elf.subarray(offset, offset + size);
  };
  const names = content(namesIndex);
  const wanted = new TextEncoder().encode(`${name}\0`);
  for (let index = 0; index < count; index++) {
    const nameAt = view.getUint32(tableOffset + index * SECTION_HEADER_BYTES, true);
    if (wanted.every((byte, at) => names[nameAt + at] === byte)) return content(index);
  }
  return undefined;
}

export interface ElfExecutable {
  /** e_machine */
  readonly machine: number;
  /** Whether it names a dynamic loader (PT_INTERP), so that it does not run on its own. */
  readonly isDynamic: boolean;
  readonly notes: readonly ElfNote[];
}

export interface ElfNote {
  readonly name: string;
  readonly type: number;
}

/**
 * Reads header, program headers and notes of an executable that is too large to hold.
 *
 * @param what names the file in errors
 * @throws {BangerError} `corrupt_data`
 */
export async function readElfExecutable(file: RandomAccessFile, what: string): Promise<ElfExecutable> {
  const sizeBytes = await file.sizeBytes();
  const header = new Uint8Array(HEADER_BYTES);
  if (await file.readAt(header, 0) < HEADER_BYTES || !isElf64(header)) {
    throw corrupt(what, "it is no 64-bit ELF file");
  }
  const view = new DataView(header.buffer);
  const tableOffset = Number(view.getBigUint64(32, true));
  const count = view.getUint16(56, true);
  const table = new Uint8Array(count * PROGRAM_HEADER_BYTES);
  if (view.getUint16(54, true) !== PROGRAM_HEADER_BYTES || tableOffset + table.length > sizeBytes) {
    throw corrupt(what, "its program headers lie outside the file");
  }
  await file.readAt(table, tableOffset);
  const headers = new DataView(table.buffer);
  let isDynamic = false;
  const notes: ElfNote[] = [];
  for (let at = 0; at < table.length; at += PROGRAM_HEADER_BYTES) {
    const type = headers.getUint32(at, true);
    if (type === PT_INTERP) isDynamic = true;
    if (type !== PT_NOTE) continue;
    const offset = Number(headers.getBigUint64(at + 8, true));
    const size = Number(headers.getBigUint64(at + 32, true));
    if (offset + size > sizeBytes) throw corrupt(what, "a segment lies outside the file");
    if (size > MAX_NOTES_BYTES) throw corrupt(what, `it has ${size} bytes of notes`);
    const content = new Uint8Array(size);
    await file.readAt(content, offset);
    notes.push(...parseNotes(content));
  }
  return { machine: view.getUint16(18, true), isDynamic, notes };
}

/** Name and descriptor are padded to 4 bytes each. A note that is cut off ends the list. */
function parseNotes(content: Uint8Array): ElfNote[] {
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  const notes: ElfNote[] = [];
  for (let at = 0; at + 12 <= content.length;) {
    const nameBytes = view.getUint32(at, true);
    const descriptorBytes = view.getUint32(at + 4, true);
    const type = view.getUint32(at + 8, true);
    const end = at + 12 + align4(nameBytes) + align4(descriptorBytes);
    if (end > content.length) break;
    const name = String.fromCharCode(...content.subarray(at + 12, at + 12 + nameBytes)).replace(
      /\0[^]*$/,
      "",
    );
    notes.push({ name, type });
    at = end;
  }
  return notes;
}

function align4(size: number): number {
  return Math.ceil(size / 4) * 4;
}

function corrupt(what: string, why: string): BangerError {
  return new BangerError("corrupt_data", `Cannot read ${what}: ${why}`);
}
