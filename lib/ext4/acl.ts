import { BangerError } from "../base/errors.ts";
import { viewOf } from "./bytes.ts";

/**
 * POSIX ACLs have two forms: the attribute's value, as archives and system calls carry it (version 2,
 * eight bytes an entry), and ext4's own (version 1, an id only where the entry has one).
 * Source: Linux include/uapi/linux/posix_acl_xattr.h and fs/ext4/acl.c
 */
const VALUE_VERSION = 2;
const DISK_VERSION = 1;
const VALUE_ENTRY_BYTES = 8;
const TAG_USER = 0x02;
const TAG_GROUP = 0x08;
const NO_ID = 0xffffffff;

function hasId(tag: number): boolean {
  return tag === TAG_USER || tag === TAG_GROUP;
}

function badAcl(): BangerError {
  return new BangerError("corrupt_data", "Cannot read a POSIX ACL: it has another form than the kernel's");
}

/** @throws {BangerError} `corrupt_data` */
export function aclToDisk(value: Uint8Array): Uint8Array {
  const view = viewOf(value);
  if (value.length < 4 || (value.length - 4) % VALUE_ENTRY_BYTES !== 0) throw badAcl();
  if (view.getUint32(0, true) !== VALUE_VERSION) throw badAcl();
  const disk = new Uint8Array(value.length);
  const out = viewOf(disk);
  out.setUint32(0, DISK_VERSION, true);
  let end = 4;
  for (let at = 4; at < value.length; at += VALUE_ENTRY_BYTES) {
    const tag = view.getUint16(at, true);
    out.setUint16(end, tag, true);
    out.setUint16(end + 2, view.getUint16(at + 2, true), true);
    if (hasId(tag)) out.setUint32(end + 4, view.getUint32(at + 4, true), true);
    end += hasId(tag) ? 8 : 4;
  }
  return disk.subarray(0, end);
}

/** @throws {BangerError} `corrupt_data` */
export function aclFromDisk(disk: Uint8Array): Uint8Array {
  const view = viewOf(disk);
  if (disk.length < 4 || view.getUint32(0, true) !== DISK_VERSION) throw badAcl();
  const value = new Uint8Array(4 + (disk.length - 4) * 2);
  const out = viewOf(value);
  out.setUint32(0, VALUE_VERSION, true);
  let end = 4;
  for (let at = 4; at < disk.length;) {
    if (at + 4 > disk.length) throw badAcl();
    const tag = view.getUint16(at, true);
    const size = hasId(tag) ? 8 : 4;
    if (at + size > disk.length) throw badAcl();
    out.setUint16(end, tag, true);
    out.setUint16(end + 2, view.getUint16(at + 2, true), true);
    out.setUint32(end + 4, hasId(tag) ? view.getUint32(at + 4, true) : NO_ID, true);
    end += VALUE_ENTRY_BYTES;
    at += size;
  }
  return value.subarray(0, end);
}
