import { BangerError, reasonOf } from "../lib/base/errors.ts";
import type { BuildStamp } from "../lib/base/build.ts";
import type { Connection, Log } from "../lib/base/host.ts";
import { ByteReader } from "../lib/guest/wire/byte_reader.ts";
import type { AgentHealth } from "../lib/guest/wire/health.ts";
import { readRequestHead } from "../lib/guest/wire/http.ts";
import { serveConnect } from "./connect.ts";
import type { Descriptors } from "./descriptor.ts";
import { serveExec } from "./exec.ts";
import { Exchange } from "./exchange.ts";
import { serveFileIn, serveFileOut } from "./files.ts";
import { type DiskName, growDisk } from "./disks.ts";
import { servePorts } from "./ports.ts";
import { powerOff } from "./power.ts";
import { serveSessions } from "./sessions/serve.ts";
import type { Sessions } from "./sessions/sessions.ts";
import { type LoadSshServer, serveSsh } from "./ssh.ts";
import { readSmallFile } from "./small_files.ts";
import { guestStats } from "./stats.ts";

/** For a request's head: who connects has something to ask. */
const HEAD_TIMEOUT_MS = 30_000;
const SESSIONS = "/v1/sessions";

export interface ServerContext {
  readonly descriptors: Descriptors;
  readonly sessions: Sessions;
  readonly loadSshServer: LoadSshServer;
  readonly build: BuildStamp;
  /** Where files come from that do not come as bytes; the guest's own, unless a test has another. */
  readonly configDisk?: string;
  readonly log: Log;
}

/** Serves one connection, whatever its transport: one request and its answer. Never throws. */
export async function serveConnection(context: ServerContext, connection: Connection): Promise<void> {
  const timer = setTimeout(() => connection.close(), HEAD_TIMEOUT_MS);
  try {
    const reader = new ByteReader(connection);
    const head = await readRequestHead(reader);
    clearTimeout(timer);
    if (head) await serveRequest(context, new Exchange(connection, reader, head));
  } catch (failure) {
    context.log("debug", "connection failed", { reason: reasonOf(failure) });
  } finally {
    clearTimeout(timer);
    connection.close();
  }
}

async function serveRequest(context: ServerContext, exchange: Exchange): Promise<void> {
  try {
    await route(context, exchange);
  } catch (failure) {
    const error = failure instanceof BangerError
      ? failure
      : new BangerError("internal", `Cannot serve the request: ${reasonOf(failure)}`);
    if (!(failure instanceof BangerError)) context.log("error", "request failed", { failure });
    // Too late to say why: the connection that ends before its body does says that something failed.
    if (!exchange.isAnswered) await exchange.fail(error);
  }
}

async function route(context: ServerContext, exchange: Exchange): Promise<void> {
  const { descriptors, log } = context;
  const { method, target } = exchange.head;
  const url = new URL(target, "http://banger");
  if (url.pathname === SESSIONS || url.pathname.startsWith(`${SESSIONS}/`)) {
    return await serveSessions(
      context.sessions,
      exchange,
      url.pathname.slice(SESSIONS.length),
      url.searchParams,
      log,
    );
  }
  switch (`${method} ${url.pathname}`) {
    case "GET /healthz":
      return await exchange.answer(200, health(context));
    case "POST /v1/exec":
      return await serveExec(descriptors, exchange, log);
    case "POST /v1/connect":
      return await serveConnect(exchange, url.searchParams, log);
    case "POST /v1/files/in":
      return await serveFileIn(descriptors.libc, exchange, url.searchParams, context.configDisk);
    case "POST /v1/files/out":
      return await serveFileOut(descriptors.libc, exchange, url.searchParams);
    case "GET /v1/ports":
      return await servePorts(descriptors.libc, exchange, url.searchParams.has("watch"));
    case "POST /v1/ssh":
      return await serveSsh(descriptors, exchange, context.loadSshServer, log);
    case "POST /v1/sync":
      await descriptors.libc.call.sync();
      return await exchange.answer(204);
    case "GET /v1/stats":
      return await exchange.answer(200, guestStats(descriptors.libc));
    case "POST /v1/grow":
      await growDisk(descriptors.libc, log, ...parseGrow(url));
      return await exchange.answer(204);
    case "POST /v1/power-off":
      await exchange.answer(202);
      return await powerOff(descriptors, log);
    default:
      throw new BangerError(
        "not_found",
        `Cannot serve ${method} ${url.pathname}: the agent has no such request`,
      );
  }
}

function parseGrow({ searchParams }: URL): [DiskName, number] {
  const disk = searchParams.get("disk");
  const bytes = Number(searchParams.get("bytes"));
  if ((disk === "root" || disk === "work") && Number.isSafeInteger(bytes) && bytes > 0) return [disk, bytes];
  throw new BangerError("invalid_argument", "Cannot grow a disk: say disk=root or disk=work, and bytes=N");
}

function health({ descriptors, build }: ServerContext): AgentHealth {
  const { libc } = descriptors;
  return {
    status: "ok",
    version: build.version,
    commit: build.commit,
    bootId: (readSmallFile(libc, "/proc/sys/kernel/random/boot_id") ?? "").trim(),
    uptimeSeconds: parseFloat(readSmallFile(libc, "/proc/uptime") ?? ""),
    pid: Deno.pid,
  };
}
