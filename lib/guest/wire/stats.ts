import { BangerError } from "../../base/errors.ts";
import { parseGuestJson } from "./exec.ts";

/** `GET /v1/stats`: what the guest itself says of its load. */
export interface GuestStats {
  readonly memory: { readonly totalBytes: number; readonly availableBytes: number };
  /** Mean of runnable processes over 1, 5 and 15 minutes. */
  readonly load: readonly [number, number, number];
  readonly processes: number;
  /** `/` and `/root`, where they could be looked at. */
  readonly filesystems: readonly GuestFilesystem[];
}

export interface GuestFilesystem {
  readonly path: "/" | "/root";
  readonly totalBytes: number;
  /** For everybody but root. */
  readonly availableBytes: number;
}

export const MAX_STATS_BYTES = 4096;

/**
 * @param payload from the guest, which may say what it likes: numbers are only kept in range
 * @throws {BangerError} `corrupt_data` naming the field
 */
export function parseStats(payload: Uint8Array): GuestStats {
  const { memory, load, processes, filesystems } = parseGuestJson(payload, "the guest's load");
  if (!Array.isArray(load) || load.length !== 3) throw wrong("load");
  if (!Array.isArray(filesystems) || filesystems.length > 2) throw wrong("filesystems");
  const [one, five, fifteen] = load.map((value) => number(value, "load"));
  return {
    memory: {
      totalBytes: bytes(field(memory, "totalBytes"), "memory"),
      availableBytes: bytes(field(memory, "availableBytes"), "memory"),
    },
    load: [one!, five!, fifteen!],
    processes: bytes(processes, "processes"),
    filesystems: filesystems.map((filesystem) => ({
      path: pathOf(field(filesystem, "path")),
      totalBytes: bytes(field(filesystem, "totalBytes"), "filesystems"),
      availableBytes: bytes(field(filesystem, "availableBytes"), "filesystems"),
    })),
  };
}

function field(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

function pathOf(value: unknown): "/" | "/root" {
  if (value === "/" || value === "/root") return value;
  throw wrong("filesystems");
}

function bytes(value: unknown, name: string): number {
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number;
  throw wrong(name);
}

function number(value: unknown, name: string): number {
  if (typeof value === "number" && value >= 0 && value < 1e9) return value;
  throw wrong(name);
}

function wrong(name: string): BangerError {
  return new BangerError("corrupt_data", `Cannot use the guest's load: its ${name} is not as expected`);
}
