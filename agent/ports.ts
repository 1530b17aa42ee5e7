/** What listens in the guest: `GET /v1/ports`. */
import { type GuestListener, type GuestPorts, MAX_LISTENERS } from "../lib/guest/wire/ports.ts";
import type { Exchange } from "./exchange.ts";
import { cString, errnoOf, type Libc, LibcError, O_CLOEXEC } from "./libc.ts";

const TABLES = ["/proc/net/tcp", "/proc/net/tcp6"] as const;
/** One for all reads: each is decoded before anything else runs. */
const buffer = new Uint8Array(64 * 1024);
/** Of one table. Beyond it lies more than could be told. */
const MAX_LOOKED_AT = 4096;
/** A server that starts is to be there within a second; and each look costs an emulated guest some 10 ms. */
const LOOK_AGAIN_MS = 500;
/** TCP_LISTEN (include/net/tcp_states.h), as the tables print it. */
const LISTEN = "0A";
/** The second column's, on the first line. */
const HEADING = "local_address";

/** A guest with thousands of listeners must not spend its processor on looking at them. */
const LOOK_AGAIN_FACTOR = 20;

/** Where several addresses have the same port open, the least of these is told. */
const RANK = { any: 0, anyOfSix: 1, own: 2, loopback: 3 } as const;
type Rank = (typeof RANK)[keyof typeof RANK];

export async function servePorts(libc: Libc, exchange: Exchange, isWatch: boolean): Promise<void> {
  if (!isWatch) return await exchange.answer(200, listListeners(libc));
  let isGone = false;
  const wake = Promise.withResolvers<void>();
  const gone = exchange.untilGone().then(() => {
    isGone = true;
    wake.resolve();
  });
  let last: string | undefined;
  while (!isGone) {
    const startedAt = performance.now();
    // The tables' own text tells whether anything is new, without reading it closely.
    const tables = readTables(libc);
    const text = tables.join("\n");
    if (text !== last) {
      last = text;
      await exchange.send(new TextEncoder().encode(`${JSON.stringify(parseListeners(tables))}\n`));
    }
    const tookMs = performance.now() - startedAt;
    await sleepUnless(wake.promise, Math.max(LOOK_AGAIN_MS, LOOK_AGAIN_FACTOR * tookMs));
  }
  await gone;
}

function listListeners(libc: Libc): GuestPorts {
  return parseListeners(readTables(libc));
}

function readTables(libc: Libc): string[] {
  return TABLES.map((path) => readListeningPart(libc, path));
}

/**
 * A table's lines up to the first that is no listener's: the kernel prints listeners first, so a guest with
 * thousands of connections costs no more than one without.
 *
 * Source: Linux net/ipv4/tcp_ipv4.c, tcp_seek_last_pos: TCP_SEQ_STATE_LISTENING, then established
 */
function readListeningPart(libc: Libc, path: string): string {
  const fd = libc.call.open(cString(path), O_CLOEXEC, 0);
  if (fd < 0) return ""; // a kernel without IPv6
  try {
    const decoder = new TextDecoder();
    const words: string[] = [];
    let rest = "";
    while (words.length < MAX_LOOKED_AT) {
      const count = libc.call.read(fd, buffer, BigInt(buffer.length));
      if (count < 0) throw new LibcError(`read ${path}`, errnoOf(libc));
      if (count === 0) break;
      const lines = (rest + decoder.decode(buffer.subarray(0, count), { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        // Only addresses: the other columns (queue lengths) change without anything having changed.
        const [, address, , state] = line.trimStart().split(/\s+/, 4);
        if (state === LISTEN && address !== undefined) words.push(address);
        else if (address !== HEADING) return words.join(" ");
      }
    }
    return words.join(" ");
  } finally {
    libc.call.close(fd);
  }
}

/** @param tables `ADDRESS:PORT` words in the kernel's hexadecimal. Exported for tests. */
export function parseListeners(tables: readonly string[]): GuestPorts {
  const best = new Map<number, { listener: GuestListener; rank: Rank }>();
  for (const word of tables.join(" ").split(" ")) {
    const match = /^([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4})$/.exec(word);
    if (!match) continue;
    const port = parseInt(match[2]!, 16);
    if (port === 0) continue;
    const address = match[1]!.length === 8 ? parseIpv4(match[1]!) : parseIpv6(match[1]!);
    const rank = rankOf(address);
    const known = best.get(port);
    if (!known || rank < known.rank) best.set(port, { listener: { port, address }, rank });
  }
  const listeners = [...best.values()].map(({ listener }) => listener).sort((a, b) => a.port - b.port);
  return { listeners: listeners.slice(0, MAX_LISTENERS), truncated: listeners.length > MAX_LISTENERS };
}

function rankOf(address: string): Rank {
  if (address === "0.0.0.0") return RANK.any;
  if (address === "::") return RANK.anyOfSix;
  return address.startsWith("127.") || address === "::1" ? RANK.loopback : RANK.own;
}

/** As the kernel prints it: the bytes of a little-endian word. */
function parseIpv4(hex: string): string {
  return bytesOfWord(hex).join(".");
}

function parseIpv6(hex: string): string {
  const bytes = [0, 8, 16, 24].flatMap((at) => bytesOfWord(hex.slice(at, at + 8)));
  const isMapped = bytes.slice(0, 10).every((byte) => byte === 0) && bytes[10] === 255 && bytes[11] === 255;
  if (isMapped) return bytes.slice(12).join(".");
  if (bytes.every((byte) => byte === 0)) return "::";
  if (bytes.slice(0, 15).every((byte) => byte === 0) && bytes[15] === 1) return "::1";
  const groups: string[] = [];
  for (let at = 0; at < 16; at += 2) groups.push(((bytes[at]! << 8) | bytes[at + 1]!).toString(16));
  return groups.join(":");
}

function bytesOfWord(hex: string): number[] {
  return [6, 4, 2, 0].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

async function sleepUnless(woken: Promise<void>, ms: number): Promise<void> {
  let timer: number | undefined;
  const slept = new Promise<void>((resolve) => timer = setTimeout(resolve, ms));
  await Promise.race([woken, slept]);
  clearTimeout(timer);
}
