/**
 * Ethernet, ARP, IPv4 and the headers on top: fields by their places, and checksums.
 *
 * Source: IEEE 802.3; RFC 826 (ARP); RFC 791 (IPv4); RFC 792 (ICMP); RFC 768 (UDP); RFC 9293 (TCP);
 * RFC 1071 (checksums)
 */

export const ETHERNET_BYTES = 14;
export const IPV4_BYTES = 20;
export const TCP_BYTES = 20;
export const UDP_BYTES = 8;
export const ETHERTYPE = { ipv4: 0x0800, arp: 0x0806 } as const;
export const PROTOCOL = { icmp: 1, tcp: 6, udp: 17 } as const;
export const TCP_FLAG = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16 } as const;

/** An IPv4 packet of the guest. Bytes are views: they are valid until the next read of the link. */
export interface Ipv4Packet {
  readonly protocol: number;
  readonly source: number;
  readonly destination: number;
  readonly payload: Uint8Array;
  /** The header, for ICMP errors that quote it. */
  readonly header: Uint8Array;
}

/** @returns undefined for what is no whole, unfragmented IPv4 packet */
export function parseIpv4(bytes: Uint8Array): Ipv4Packet | undefined {
  if (bytes.length < IPV4_BYTES || bytes[0]! >> 4 !== 4) return undefined;
  const headerBytes = (bytes[0]! & 0xf) * 4;
  const totalBytes = uint16(bytes, 2);
  if (headerBytes < IPV4_BYTES || totalBytes < headerBytes || totalBytes > bytes.length) return undefined;
  // More fragments, or an offset: with packets of up to 64 KiB nobody needs them.
  if (uint16(bytes, 6) & 0x3fff) return undefined;
  return {
    protocol: bytes[9]!,
    source: uint32(bytes, 12),
    destination: uint32(bytes, 16),
    payload: bytes.subarray(headerBytes, totalBytes),
    header: bytes.subarray(0, headerBytes),
  };
}

/** Reads of a guest's TCP segment. */
export interface Segment {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly flags: number;
  /** As sent, without its scale. */
  readonly window: number;
  /** Of a SYN: what the guest takes in one segment, and how it scales its window. */
  readonly mss?: number;
  readonly windowShift?: number;
  readonly payload: Uint8Array;
}

/** @returns undefined for what is no whole segment */
export function parseSegment(bytes: Uint8Array): Segment | undefined {
  if (bytes.length < TCP_BYTES) return undefined;
  const headerBytes = (bytes[12]! >> 4) * 4;
  if (headerBytes < TCP_BYTES || headerBytes > bytes.length) return undefined;
  const flags = bytes[13]!;
  return {
    sourcePort: uint16(bytes, 0),
    destinationPort: uint16(bytes, 2),
    sequence: uint32(bytes, 4),
    acknowledgement: uint32(bytes, 8),
    flags,
    window: uint16(bytes, 14),
    ...(flags & TCP_FLAG.syn ? synOptions(bytes.subarray(TCP_BYTES, headerBytes)) : {}),
    payload: bytes.subarray(headerBytes),
  };
}

function synOptions(options: Uint8Array): { mss?: number; windowShift?: number } {
  const found: { mss?: number; windowShift?: number } = {};
  for (let at = 0; at < options.length;) {
    const kind = options[at]!;
    if (kind === 0) break;
    if (kind === 1) {
      at++;
      continue;
    }
    const length = options[at + 1] ?? 0;
    if (length < 2 || at + length > options.length) break;
    if (kind === 2 && length === 4) found.mss = uint16(options, at + 2);
    // RFC 7323, section 2.3: more than 14 counts as 14.
    if (kind === 3 && length === 3) found.windowShift = Math.min(options[at + 2]!, 14);
    at += length;
  }
  return found;
}

/** Writes the Ethernet header. */
export function putEthernet(frame: Uint8Array, to: Uint8Array, from: Uint8Array, type: number): void {
  frame.set(to, 0);
  frame.set(from, 6);
  putUint16(frame, 12, type);
}

/** Writes an IPv4 header without options, with its checksum, at `at`. */
export function putIpv4(
  frame: Uint8Array,
  at: number,
  fields: { protocol: number; source: number; destination: number; payloadBytes: number },
): void {
  frame.fill(0, at, at + IPV4_BYTES);
  frame[at] = 0x45;
  putUint16(frame, at + 2, IPV4_BYTES + fields.payloadBytes);
  frame[at + 6] = 0x40; // don't fragment
  frame[at + 8] = 64;
  frame[at + 9] = fields.protocol;
  putUint32(frame, at + 12, fields.source);
  putUint32(frame, at + 16, fields.destination);
  putUint16(frame, at + 10, finishChecksum(sumBytes(frame.subarray(at, at + IPV4_BYTES))));
}

/** The sum of the pseudo header that TCP and UDP checksums begin with. */
export function pseudoHeaderSum(
  source: number,
  destination: number,
  protocol: number,
  bytes: number,
): number {
  return (source >>> 16) + (source & 0xffff) + (destination >>> 16) + (destination & 0xffff) + protocol +
    bytes;
}

/** @returns the sum as a checksum field has it */
export function finishChecksum(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded % 0x10000) + Math.floor(folded / 0x10000);
  return ~folded & 0xffff;
}

const IS_LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/**
 * The sum of big-endian 16-bit words; a last odd byte counts as the upper one. Large inputs are summed as
 * native 32-bit words where they lie on such, and the sum's bytes are swapped at the end: the order of bytes
 * does not matter to a one's-complement sum (RFC 1071, section 2). Doubles hold 2^21 of them exactly.
 */
export function sumBytes(bytes: Uint8Array): number {
  let sum = 0;
  let at = 0;
  if (IS_LITTLE_ENDIAN && bytes.length >= 64 && bytes.byteOffset % 4 === 0) {
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
    let native = 0;
    for (let index = 0; index < words.length; index++) native += words[index]!;
    let folded = native;
    while (folded > 0xffff) folded = (folded % 0x10000) + Math.floor(folded / 0x10000);
    sum = ((folded & 0xff) << 8) | (folded >>> 8);
    at = words.length * 4;
  }
  for (; at + 1 < bytes.length; at += 2) sum += (bytes[at]! << 8) | bytes[at + 1]!;
  if (at < bytes.length) sum += bytes[at]! << 8;
  return sum;
}

export function uint16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

export function uint32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

export function putUint16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value & 0xff;
}

export function putUint32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = (value >>> 16) & 0xff;
  bytes[at + 2] = (value >>> 8) & 0xff;
  bytes[at + 3] = value & 0xff;
}
