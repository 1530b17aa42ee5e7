/**
 * `GET /v1/ports`: what listens on TCP in the guest, as one JSON object; with `?watch=1` a line of it now and
 * at each change, until the client goes.
 */
import { BangerError } from "../../base/errors.ts";
import { parseGuestJson } from "./exec.ts";

/** One for each port, however many addresses it is open on. */
export interface GuestListener {
  readonly port: number;
  /** Where it is best reached: any address, else one of the guest's, else one of its loopback. */
  readonly address: string;
}

export interface GuestPorts {
  /** By port. */
  readonly listeners: readonly GuestListener[];
  /** Whether more listen than are told. */
  readonly truncated: boolean;
}

/** A guest that opens 10,000 ports gets the lowest of them told. */
export const MAX_LISTENERS = 512;

/** 512 of the longest entries are some 40 KiB. */
export const MAX_PORTS_BYTES = 64 * 1024;

const ADDRESS = /^(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-f:]{2,39})$/;

/**
 * @param payload from the guest: whatever is not as it should be is refused
 * @throws {BangerError} `corrupt_data`
 */
export function parseGuestPorts(payload: Uint8Array): GuestPorts {
  const { listeners, truncated } = parseGuestJson(payload, "the guest's ports");
  if (!Array.isArray(listeners) || listeners.length > MAX_LISTENERS) throw wrong("list");
  const seen = new Set<number>();
  const parsed = listeners.map((entry: unknown) => {
    if (typeof entry !== "object" || entry === null) throw wrong("list");
    const { port, address } = entry as Record<string, unknown>;
    if (typeof port !== "number" || !Number.isInteger(port) || port < 1 || port > 65535 || seen.has(port)) {
      throw wrong("port");
    }
    if (typeof address !== "string" || !ADDRESS.test(address)) throw wrong("address");
    seen.add(port);
    return { port, address };
  });
  return { listeners: parsed.sort((a, b) => a.port - b.port), truncated: truncated === true };
}

function wrong(field: string): BangerError {
  return new BangerError("corrupt_data", `Cannot use the guest's ports: its ${field} is not as expected`);
}
