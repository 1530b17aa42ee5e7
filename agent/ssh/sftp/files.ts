import { concatBytes } from "../../../lib/base/bytes.ts";
import { BangerError, reasonOf } from "../../../lib/base/errors.ts";
import type { Log } from "../../../lib/base/host.ts";
import { ENOENT, LibcError } from "../../libc.ts";
import { SshReader, SshWriter } from "../wire.ts";
import {
  type CPath,
  cPath,
  type FileAttributes,
  type FileCalls,
  O_APPEND,
  O_CREAT,
  O_EXCL,
  O_RDWR,
  O_TRUNC,
  O_WRONLY,
} from "./file_calls.ts";
import {
  ANSWER,
  longName,
  MAX_MESSAGE_BYTES,
  OPEN,
  parseAttributes,
  putAttributes,
  REQUEST,
  SftpFailure,
  STATUS,
  statusOf,
  VERSION,
  type WantedAttributes,
} from "./protocol.ts";

const MAX_HANDLES = 1000;
const MAX_DATA_BYTES = MAX_MESSAGE_BYTES - 1024;
const NEW_FILE_MODE = 0o666;
const NEW_DIRECTORY_MODE = 0o777;
/** Of one answer: with 255 bytes twice each, and attributes, it stays below the message's limit. */
const NAMES_AT_ONCE = 100;
const LENGTH_BYTES = 4;
const DATA_HEADER_BYTES = LENGTH_BYTES + 1 + 4 + 4;
const SLASH = 0x2f;
const TILDE = 0x7e;
const EXTENSIONS = {
  "posix-rename@openssh.com": "1",
  "statvfs@openssh.com": "2",
  "fstatvfs@openssh.com": "2",
  "hardlink@openssh.com": "1",
  "fsync@openssh.com": "1",
  "lsetstat@openssh.com": "1",
  "limits@openssh.com": "1",
  "expand-path@openssh.com": "1",
} as const;
/** Where a message has no id yet. */
const NO_ID = 0;

interface Handle {
  readonly fd: number;
  readonly isAppending: boolean;
  /** Of a directory: names that were read but not yet told. */
  names?: Uint8Array[];
  readonly path: CPath;
}

/** Answers the messages of one client: files by name and by handle, as one user. */
export class SftpFiles implements Disposable {
  readonly #calls: FileCalls;
  readonly #home: Uint8Array;
  readonly #log: Log;
  readonly #handles = new Map<number, Handle>();
  #nextHandle = 1;

  constructor(calls: FileCalls, home: string, log: Log) {
    this.#calls = calls;
    this.#home = new TextEncoder().encode(home);
    this.#log = log;
  }

  [Symbol.dispose](): void {
    for (const { fd } of this.#handles.values()) this.#calls.close(fd);
    this.#handles.clear();
  }

  /** @param message without its length. @returns the answer with its own */
  answer(message: Uint8Array): Uint8Array {
    const reader = new SshReader(message, 1);
    const type = message[0]!;
    let id = NO_ID;
    try {
      if (type === REQUEST.init) return this.#version();
      id = reader.u32();
      return this.#answer(type, id, reader);
    } catch (failure) {
      if (failure instanceof BangerError) return status(id, STATUS.badMessage, failure.message);
      const { status: code, text } = statusOf(failure);
      return status(id, code, text);
    }
  }

  #version(): Uint8Array {
    const writer = begin(ANSWER.version).u32(VERSION);
    for (const [name, version] of Object.entries(EXTENSIONS)) writer.string(name).string(version);
    return finish(writer);
  }

  #answer(type: number, id: number, reader: SshReader): Uint8Array {
    const calls = this.#calls;
    switch (type) {
      case REQUEST.read:
        return this.#read(id, this.#handle(reader), reader.u64(), reader.u32());
      case REQUEST.write:
        return this.#write(id, this.#handle(reader), reader.u64(), reader.string());
      case REQUEST.open:
        return this.#open(id, this.#path(reader), reader.u32(), parseAttributes(reader));
      case REQUEST.opendir:
        return this.#openDirectory(id, this.#path(reader));
      case REQUEST.readdir:
        return this.#list(id, this.#handle(reader));
      case REQUEST.close:
        return this.#close(id, reader);
      case REQUEST.stat:
        return attributesAnswer(id, calls.stat(this.#path(reader)));
      case REQUEST.lstat:
        return attributesAnswer(id, calls.stat(this.#path(reader), { isFollowing: false }));
      case REQUEST.fstat:
        return attributesAnswer(id, calls.stat(cPath(new Uint8Array(0)), { fd: this.#handle(reader).fd }));
      case REQUEST.realpath:
        return nameAnswer(id, this.#realPath(this.#path(reader)));
      case REQUEST.readlink:
        return nameAnswer(id, calls.readLink(this.#path(reader)));
      case REQUEST.extended:
        return this.#extended(id, reader.text(), reader);
      default:
        this.#change(type, reader);
        return status(id, STATUS.ok, "");
    }
  }

  /** What is answered by a status alone. */
  #change(type: number, reader: SshReader): void {
    const calls = this.#calls;
    switch (type) {
      case REQUEST.setstat:
        return this.#set(this.#path(reader), parseAttributes(reader));
      case REQUEST.fsetstat:
        return this.#set(this.#handle(reader).fd, parseAttributes(reader));
      case REQUEST.remove:
        return calls.unlink(this.#path(reader));
      case REQUEST.mkdir: {
        const path = this.#path(reader);
        return calls.makeDirectory(path, parseAttributes(reader).mode ?? NEW_DIRECTORY_MODE);
      }
      case REQUEST.rmdir:
        return calls.removeDirectory(this.#path(reader));
      case REQUEST.rename:
        return calls.rename(this.#path(reader), this.#path(reader), false);
      case REQUEST.symlink: {
        // The draft has them the other way round; every client and server does it like OpenSSH.
        const target = cString(reader.string());
        return calls.symlink(target, this.#path(reader));
      }
      default:
        throw new SftpFailure(STATUS.unsupported, `no request of type ${type}`);
    }
  }

  #extended(id: number, name: string, reader: SshReader): Uint8Array {
    const calls = this.#calls;
    switch (name) {
      case "posix-rename@openssh.com":
        calls.rename(this.#path(reader), this.#path(reader), true);
        break;
      case "hardlink@openssh.com":
        calls.link(this.#path(reader), this.#path(reader));
        break;
      case "fsync@openssh.com":
        calls.sync(this.#handle(reader).fd);
        break;
      case "lsetstat@openssh.com":
        this.#set(this.#path(reader), parseAttributes(reader), false);
        break;
      case "statvfs@openssh.com":
        return numbersAnswer(id, calls.statFileSystem(this.#path(reader)));
      case "fstatvfs@openssh.com":
        return numbersAnswer(id, calls.statFileSystem(this.#handle(reader).fd));
      case "limits@openssh.com":
        return numbersAnswer(id, [MAX_MESSAGE_BYTES, MAX_DATA_BYTES, MAX_DATA_BYTES, MAX_HANDLES]);
      case "expand-path@openssh.com":
        return nameAnswer(id, this.#realPath(this.#absolute(this.#expanded(reader.string()))));
      default:
        throw new SftpFailure(STATUS.unsupported, "no such extension");
    }
    return status(id, STATUS.ok, "");
  }

  #open(id: number, path: CPath, flags: number, wanted: WantedAttributes): Uint8Array {
    this.#checkHandles();
    const isWriting = (flags & OPEN.write) !== 0;
    const access = isWriting ? (flags & OPEN.read ? O_RDWR : O_WRONLY) : 0;
    const fd = this.#calls.open(
      path,
      access |
        (flags & OPEN.append ? O_APPEND : 0) |
        (flags & OPEN.create ? O_CREAT : 0) |
        (flags & OPEN.truncate ? O_TRUNC : 0) |
        (flags & OPEN.exclusive ? O_EXCL : 0),
      wanted.mode ?? NEW_FILE_MODE,
    );
    return this.#newHandle(id, { fd, isAppending: (flags & OPEN.append) !== 0, path });
  }

  #openDirectory(id: number, path: CPath): Uint8Array {
    this.#checkHandles();
    return this.#newHandle(id, { fd: this.#calls.openDirectory(path), isAppending: false, names: [], path });
  }

  #checkHandles(): void {
    if (this.#handles.size >= MAX_HANDLES) throw new SftpFailure(STATUS.failure, "too many open files");
  }

  #newHandle(id: number, handle: Handle): Uint8Array {
    const number = this.#nextHandle++;
    this.#handles.set(number, handle);
    return finish(begin(ANSWER.handle).u32(id).u32(4).u32(number));
  }

  #handle(reader: SshReader): Handle {
    const handle = this.#handles.get(handleNumber(reader));
    if (handle) return handle;
    throw new SftpFailure(STATUS.failure, "no such handle");
  }

  #close(id: number, reader: SshReader): Uint8Array {
    const number = handleNumber(reader);
    const handle = this.#handles.get(number);
    if (!handle) throw new SftpFailure(STATUS.failure, "no such handle");
    this.#handles.delete(number);
    this.#calls.close(handle.fd);
    return status(id, STATUS.ok, "");
  }

  #read(id: number, { fd }: Handle, at: number, wantedBytes: number): Uint8Array {
    const answer = new Uint8Array(DATA_HEADER_BYTES + Math.min(wantedBytes, MAX_DATA_BYTES));
    const count = this.#calls.read(fd, answer.subarray(DATA_HEADER_BYTES), at);
    if (count === 0 && wantedBytes > 0) return status(id, STATUS.eof, "end of file");
    const view = new DataView(answer.buffer);
    view.setUint32(0, DATA_HEADER_BYTES - LENGTH_BYTES + count);
    view.setUint8(4, ANSWER.data);
    view.setUint32(5, id);
    view.setUint32(9, count);
    return answer.subarray(0, DATA_HEADER_BYTES + count);
  }

  #write(id: number, { fd, isAppending }: Handle, at: number, data: Uint8Array): Uint8Array {
    for (let written = 0; written < data.length;) {
      // The kernel appends, whatever the offset, where the file was opened so.
      const offset = isAppending ? 0 : at + written;
      written += this.#calls.write(fd, data.subarray(written), offset);
    }
    return status(id, STATUS.ok, "");
  }

  #list(id: number, handle: Handle): Uint8Array {
    if (!handle.names) throw new SftpFailure(STATUS.failure, "not a directory");
    if (handle.names.length === 0) handle.names = this.#calls.list(handle.fd);
    const names = handle.names.splice(0, NAMES_AT_ONCE);
    if (names.length === 0) return status(id, STATUS.eof, "end of directory");
    const nowSeconds = Date.now() / 1000;
    const directory = handle.path.subarray(0, -1);
    const entries = names.flatMap((name) => {
      const attributes = this.#findAttributes(concatBytes([directory, Uint8Array.of(SLASH), name]));
      return attributes ? [{ name, attributes }] : [];
    });
    const writer = begin(ANSWER.name).u32(id).u32(entries.length);
    for (const { name, attributes } of entries) {
      const line = new TextEncoder().encode(`${longName(attributes, nowSeconds)} `);
      writer.string(name).string(concatBytes([line, name]));
      putAttributes(writer, attributes);
    }
    return finish(writer);
  }

  /** @returns undefined where it has gone since it was listed */
  #findAttributes(path: Uint8Array): FileAttributes | undefined {
    try {
      return this.#calls.stat(cPath(path), { isFollowing: false });
    } catch (failure) {
      if (!(failure instanceof LibcError)) throw failure;
      this.#log("debug", "cannot look at a listed file", { reason: reasonOf(failure) });
      return undefined;
    }
  }

  #set(path: CPath | number, wanted: WantedAttributes, isFollowing = true): void {
    const { sizeBytes, owner, mode, times } = wanted;
    if (sizeBytes !== undefined) this.#calls.truncate(path, sizeBytes);
    if (owner) this.#calls.changeOwner(path, owner.uid, owner.gid, isFollowing);
    // After the owner: that takes the set-user-id bit away.
    if (mode !== undefined && isFollowing) this.#calls.changeMode(path, mode);
    if (times) this.#calls.changeTimes(path, times.accessedSeconds, times.modifiedSeconds, isFollowing);
  }

  /** Of what is not there yet, too: of its directory. */
  #realPath(path: CPath): Uint8Array {
    try {
      return this.#calls.realPath(path);
    } catch (failure) {
      if (!(failure instanceof LibcError && failure.errno === ENOENT)) throw failure;
      const bytes = path.subarray(0, -1);
      const slash = bytes.lastIndexOf(SLASH);
      const last = bytes.subarray(slash + 1);
      if (slash < 0 || last.length === 0) throw failure;
      const parent = this.#calls.realPath(cPath(bytes.subarray(0, Math.max(slash, 1))));
      return concatBytes([parent, parent.length === 1 ? new Uint8Array(0) : Uint8Array.of(SLASH), last]);
    }
  }

  #path(reader: SshReader): CPath {
    return this.#absolute(reader.string());
  }

  /** Clients start at home. */
  #absolute(path: Uint8Array): CPath {
    if (path[0] === SLASH) return cString(path);
    return cString(concatBytes(path.length === 0 ? [this.#home] : [this.#home, Uint8Array.of(SLASH), path]));
  }

  /** "~" and "~/…"; other users' homes are not looked for. */
  #expanded(path: Uint8Array): Uint8Array {
    if (path[0] !== TILDE) return path;
    if (path.length === 1 || path[1] === SLASH) return concatBytes([this.#home, path.subarray(1)]);
    throw new SftpFailure(STATUS.unsupported, "only ~/ is expanded");
  }
}

function cString(path: Uint8Array): CPath {
  if (path.includes(0)) throw new SftpFailure(STATUS.badMessage, "a name has a NUL");
  return cPath(path);
}

/** @returns 0 for what is no handle of ours */
function handleNumber(reader: SshReader): number {
  const bytes = reader.string();
  return bytes.length === 4 ? new SshReader(bytes).u32() : 0;
}

function begin(type: number): SshWriter {
  return new SshWriter().u32(0).u8(type);
}

function finish(writer: SshWriter): Uint8Array {
  const message = writer.done();
  new DataView(message.buffer, message.byteOffset).setUint32(0, message.length - LENGTH_BYTES);
  return message;
}

function status(id: number, code: number, text: string): Uint8Array {
  return finish(begin(ANSWER.status).u32(id).u32(code).string(text).string(""));
}

function attributesAnswer(id: number, attributes: FileAttributes): Uint8Array {
  return finish(putAttributes(begin(ANSWER.attrs).u32(id), attributes));
}

function nameAnswer(id: number, name: Uint8Array): Uint8Array {
  return finish(begin(ANSWER.name).u32(id).u32(1).string(name).string(name).u32(0));
}

function numbersAnswer(id: number, numbers: readonly (number | bigint)[]): Uint8Array {
  const writer = begin(ANSWER.extended).u32(id);
  for (const number of numbers) writer.u64(number);
  return finish(writer);
}
