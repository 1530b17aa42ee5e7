import { BangerError } from "../base/errors.ts";
import type { Files, RandomAccessFile } from "../base/host.ts";
import { quote } from "../base/names.ts";
import { ByteReader } from "./byte_reader.ts";
import { decompress } from "./decompress.ts";
import { readTar, type TarEntry } from "./tar.ts";

const AR_MAGIC = "!<arch>\n";
const AR_HEADER_BYTES = 60;
/** A .deb has three; signed ones a few more. */
const MAX_MEMBERS = 16;
const MAX_CONTROL_BYTES = 1024 * 1024;

interface Member {
  readonly name: string;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

/** A Debian package file, read in place. */
export interface DebFile {
  readonly path: string;
  /** `Package`, `Version`, `Architecture` and the others of its control file. */
  readonly control: ReadonlyMap<string, string>;
  readonly data: Member;
}

/**
 * @throws {BangerError} `corrupt_data` where it is no Debian package
 * Source: deb(5)
 */
export async function openDeb({ files }: { files: Files }, path: string): Promise<DebFile> {
  const members = await listMembers(files, path);
  if (members[0]?.name !== "debian-binary") throw notADeb(path, "its first member is not debian-binary");
  const control = findTar(members, "control", path);
  const data = findTar(members, "data", path);
  return { path, control: await readControl(files, path, control), data };
}

/** The entries of the package's file tree. */
export async function* readDebData({ files }: { files: Files }, deb: DebFile): AsyncGenerator<TarEntry> {
  yield* readMember(files, deb.path, deb.data);
}

async function* readMember(files: Files, path: string, member: Member): AsyncGenerator<TarEntry> {
  const what = `${member.name} of ${path}`;
  const input = new ByteReader(decompress(files.readStream(path, member), what), what);
  try {
    yield* readTar(input, what);
  } finally {
    await input.close();
  }
}

async function listMembers(files: Files, path: string): Promise<Member[]> {
  await using file = await files.open(path, { read: true });
  const sizeBytes = await file.sizeBytes();
  if (await readLatin1(file, 0, AR_MAGIC.length) !== AR_MAGIC) throw notADeb(path, "it is no ar archive");
  const members: Member[] = [];
  for (let at = AR_MAGIC.length; at < sizeBytes;) {
    const header = await readLatin1(file, at, AR_HEADER_BYTES);
    const member = parseArHeader(header, at + AR_HEADER_BYTES);
    if (member === undefined) throw notADeb(path, `its member header at byte ${at} is damaged`);
    if (member.offsetBytes + member.sizeBytes > sizeBytes) throw notADeb(path, "it ends too early");
    members.push(member);
    if (members.length > MAX_MEMBERS) throw notADeb(path, `it has more than ${MAX_MEMBERS} members`);
    at = member.offsetBytes + member.sizeBytes + member.sizeBytes % 2;
  }
  return members;
}

function parseArHeader(header: string, offsetBytes: number): Member | undefined {
  if (header.length < AR_HEADER_BYTES || !header.endsWith("`\n")) return undefined;
  const size = header.slice(48, 58).trim();
  if (!/^\d+$/.test(size)) return undefined;
  return { name: header.slice(0, 16).trim().replace(/\/$/, ""), offsetBytes, sizeBytes: Number(size) };
}

function findTar(members: readonly Member[], part: "control" | "data", path: string): Member {
  const found = members.find(({ name }) => name === `${part}.tar` || name.startsWith(`${part}.tar.`));
  if (found) return found;
  throw notADeb(path, `it has no ${part}.tar`);
}

async function readControl(files: Files, path: string, member: Member): Promise<ReadonlyMap<string, string>> {
  for await (const entry of readMember(files, path, member)) {
    if (entry.path !== "control" || entry.kind !== "file") continue;
    return parseControl(new TextDecoder().decode(await entry.read(MAX_CONTROL_BYTES)));
  }
  throw notADeb(path, "it has no control file");
}

/** One paragraph of RFC 822 style fields; continuation lines belong to the field before. Source: deb-control(5) */
export function parseControl(text: string): ReadonlyMap<string, string> {
  const fields = new Map<string, string>();
  let last: string | undefined;
  for (const line of text.split("\n")) {
    if (/^[ \t]/.test(line)) {
      if (last !== undefined) fields.set(last, `${fields.get(last)}\n${line}`);
      continue;
    }
    const colon = line.indexOf(":");
    if (colon <= 0) {
      last = undefined;
      continue;
    }
    last = line.slice(0, colon);
    fields.set(last, line.slice(colon + 1).trim());
  }
  return fields;
}

async function readLatin1(file: RandomAccessFile, offsetBytes: number, sizeBytes: number): Promise<string> {
  const buffer = new Uint8Array(sizeBytes);
  const count = await file.readAt(buffer, offsetBytes);
  return String.fromCharCode(...buffer.subarray(0, count));
}

function notADeb(path: string, why: string): BangerError {
  return new BangerError(
    "corrupt_data",
    `Cannot read ${quote(path)} as a Debian package: ${why}`,
    "Fetch the file again",
  );
}
