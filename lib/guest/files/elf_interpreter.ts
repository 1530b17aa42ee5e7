/** Which loader an executable asks for, and a copy of it that asks for another. Source: elf(5) */
import { BangerError } from "../../base/errors.ts";
import { quote } from "../../base/names.ts";

/** Linkers put the loader's path right behind the headers; this is far more than they take. */
const HEAD_BYTES = 16 * 1024;
const HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const PT_INTERP = 3;

export interface Interpreter {
  /** e_machine */
  readonly machine: number;
  /** Absolute, such as `/lib64/ld-linux-x86-64.so.2`. */
  readonly path: string;
  /** Where the path stands in the file, and how much room it has there, its NUL included. */
  readonly offsetBytes: number;
  readonly roomBytes: number;
}

/**
 * @returns undefined where the file is no 64-bit little-endian ELF file, or needs no loader
 * @throws whatever the stream throws
 */
export async function findInterpreter(
  chunks: AsyncIterable<Uint8Array>,
): Promise<Interpreter | undefined> {
  let head = new Uint8Array();
  for await (const chunk of chunks) {
    head = joined(head, chunk);
    if (head.length >= HEAD_BYTES) break;
  }
  return interpreterOf(head);
}

/** @returns e_machine; undefined where these bytes begin no 64-bit little-endian ELF file */
export function elfMachineOf(head: Uint8Array): number | undefined {
  const isElf = head.length >= HEADER_BYTES && head[0] === 0x7f && head[1] === 0x45 && head[2] === 0x4c &&
    head[3] === 0x46 && head[4] === 2 && head[5] === 1;
  return isElf ? new DataView(head.buffer, head.byteOffset).getUint16(18, true) : undefined;
}

function interpreterOf(head: Uint8Array): Interpreter | undefined {
  const machine = elfMachineOf(head);
  if (machine === undefined) return undefined;
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const tableOffset = Number(view.getBigUint64(32, true));
  const count = view.getUint16(56, true);
  for (let index = 0; index < count; index++) {
    const at = tableOffset + index * PROGRAM_HEADER_BYTES;
    if (at + PROGRAM_HEADER_BYTES > head.length) return undefined;
    if (view.getUint32(at, true) !== PT_INTERP) continue;
    const offsetBytes = Number(view.getBigUint64(at + 8, true));
    const roomBytes = Number(view.getBigUint64(at + 32, true));
    if (offsetBytes + roomBytes > head.length) return undefined;
    const text = new TextDecoder().decode(head.subarray(offsetBytes, offsetBytes + roomBytes));
    return { machine, path: text.replace(/\0[^]*$/, ""), offsetBytes, roomBytes };
  }
  return undefined;
}

/**
 * The same executable with another loader; the rest of it, what is appended to it too, stays byte for byte.
 *
 * @throws {BangerError} `internal` where the path is longer than the old one; whatever the stream throws
 */
export async function* withInterpreter(
  chunks: AsyncIterable<Uint8Array>,
  { offsetBytes, roomBytes }: Interpreter,
  path: string,
): AsyncGenerator<Uint8Array, void> {
  const text = new TextEncoder().encode(path);
  if (text.length >= roomBytes) {
    throw new BangerError("internal", `Cannot make ${quote(path)} the agent's loader: the path is too long`);
  }
  const field = new Uint8Array(roomBytes);
  field.set(text);
  let position = 0;
  for await (const chunk of chunks) {
    yield overlaid(chunk, field, offsetBytes - position);
    position += chunk.length;
  }
}

/** @param at where the field lies in the chunk: it may begin before it and end after it */
function overlaid(chunk: Uint8Array, field: Uint8Array, at: number): Uint8Array {
  const from = Math.max(0, at);
  const to = Math.min(chunk.length, at + field.length);
  if (from >= to) return chunk;
  const copy = chunk.slice();
  copy.set(field.subarray(from - at, to - at), from);
  return copy;
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
