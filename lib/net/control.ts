/**
 * How the daemon talks to the process that carries a VM's network: one JSON line there, one back, over a
 * Unix socket in the machine's runtime directory.
 */
import * as z from "zod/mini"; // the relay loads it: see settings.ts
import { writeFully } from "../base/bytes.ts";
import { BangerError } from "../base/errors.ts";
import type { Connection, Host } from "../base/host.ts";

const MAX_LINE_BYTES = 1024 * 1024;

const forwardSchema = z.object({
  guestPort: z.number(),
  guestAddress: z.optional(z.string()),
  hostAddress: z.string(),
  hostPort: z.optional(z.number()),
  isPublished: z.boolean(),
  note: z.optional(z.string()),
});

const refusalSchema = z.object({
  protocol: z.enum(["tcp", "udp", "dns"]),
  /** A name where one was asked for, else the address. */
  target: z.string(),
  port: z.optional(z.number()),
  why: z.string(),
  count: z.number(),
  lastAtMs: z.number(),
});
export type Refusal = z.infer<typeof refusalSchema>;

const statusSchema = z.object({
  /** Whether the guest's agent tells what listens. */
  isWatching: z.boolean(),
  forwards: z.array(forwardSchema),
  /** Whether more listens in the guest than is forwarded. */
  truncated: z.boolean(),
  refusals: z.array(refusalSchema),
});
export type NetworkStatus = z.infer<typeof statusSchema>;

const requestSchema = z.object({ do: z.enum(["status", "reload"]) });

/** Serves until the signal fires. `reload` reads the settings again, then answers as `status` does. */
export async function serveControl(
  host: Pick<Host, "sockets" | "files">,
  path: string,
  service: { status(): NetworkStatus; reload(): Promise<void> },
  signal: AbortSignal,
): Promise<void> {
  await host.sockets.removeStaleSocket(path);
  const listener = await host.sockets.listenUnix(path);
  signal.addEventListener("abort", () => listener.close());
  for await (const connection of listener) {
    try {
      const { do: verb } = requestSchema.parse(JSON.parse(await readLine(connection)));
      if (verb === "reload") await service.reload();
      await writeLine(connection, service.status());
    } catch {
      // Whoever asked sees that there is no answer; the next one is served.
    } finally {
      connection.close();
    }
  }
  await host.files.remove(path);
}

/** @throws {BangerError} `connection_failed`, `corrupt_data`; what connecting throws */
export async function askControl(
  { sockets }: Pick<Host, "sockets">,
  path: string,
  verb: "status" | "reload",
): Promise<NetworkStatus> {
  const connection = await sockets.connectUnix(path);
  try {
    await writeLine(connection, { do: verb });
    const result = statusSchema.safeParse(JSON.parse(await readLine(connection)));
    if (result.success) return result.data;
    throw new BangerError("corrupt_data", "Cannot read the network's status: it is not as expected");
  } finally {
    connection.close();
  }
}

async function writeLine(connection: Connection, value: unknown): Promise<void> {
  await writeFully(
    (bytes) => connection.write(bytes),
    new TextEncoder().encode(`${JSON.stringify(value)}\n`),
  );
}

async function readLine(connection: Connection): Promise<string> {
  const buffer = new Uint8Array(64 * 1024);
  const decoder = new TextDecoder();
  let text = "";
  while (text.length < MAX_LINE_BYTES) {
    const count = await connection.read(buffer);
    if (count === null) break;
    text += decoder.decode(buffer.subarray(0, count), { stream: true });
    if (text.endsWith("\n")) return text.slice(0, -1);
  }
  throw new BangerError("connection_failed", "Cannot talk about the network: the connection ended early");
}
