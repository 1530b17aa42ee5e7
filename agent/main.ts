/**
 * `banger-vsock-agent`: what banger runs inside each guest. It serves the requests of
 * `lib/guest/wire/protocol.ts` on vsock, on the guest's virtio-serial port where the machine has one, and
 * on a Unix socket in the guest.
 *
 * It has no dependencies, so that it starts fast: a guest's start waits for it.
 */
import { takeBuildStamp } from "../lib/base/build.ts";
import { reasonOf } from "../lib/base/errors.ts";
import type { Connection, Log } from "../lib/base/host.ts";
import { MuxGuest } from "../lib/guest/wire/mux_guest.ts";
import { AGENT_PORT } from "../lib/guest/wire/protocol.ts";
import { loadBalloonLater } from "./balloon.ts";
import { growDisks } from "./disks.ts";
import { openLibc } from "./libc.ts";
import { acceptAll, listenUnix, listenVsock } from "./listeners.ts";
import { Poller } from "./poller.ts";
import { findSerialPort, openSerialPort } from "./serial_port.ts";
import { serveConnection, type ServerContext } from "./server.ts";
import { Sessions } from "./sessions/sessions.ts";
import { untilReady } from "./start.ts";
import type { LoadSshServer } from "./ssh.ts";

const SOCKET_PATH = "/run/banger/agent.sock";
/** On the root disk: what sessions printed can be read after a restart of the machine, too. */
const SESSIONS_DIRECTORY = "/var/lib/banger/sessions";

/** One line a problem, for the journal. */
const log: Log = (level, message, fields = {}) => {
  if (level === "debug") return;
  const details = Object.entries(fields).map(([name, value]) =>
    ` ${name}=${JSON.stringify(describe(value))}`
  );
  Deno.stderr.writeSync(new TextEncoder().encode(`${level}: ${message}${details.join("")}\n`));
};

function describe(value: unknown): unknown {
  return value instanceof Error ? value.stack ?? value.message : value;
}

/**
 * @param socketPath of the Unix socket. The rest is found: vsock and virtio-serial, where the machine has them
 * @param readyPath a file that is there once somebody may be served; undefined: at once
 */
async function main(socketPath: string, readyPath: string | undefined): Promise<void> {
  const libc = openLibc();
  const descriptors = { libc, poller: new Poller(libc) };
  const sessions = new Sessions(descriptors, SESSIONS_DIRECTORY, log);
  const context: ServerContext = { descriptors, sessions, loadSshServer, build, log };
  const answer = (connection: Connection) => serveConnection(context, connection);
  const ready = readyPath === undefined ? Promise.resolve() : untilReady(libc, readyPath, answer, log);
  let isPrepared = false;
  const serve = async (connection: Connection) => {
    await ready;
    await answer(connection);
    // The first to ask is whoever waits for the boot; the first command comes next.
    if (isPrepared) return;
    isPrepared = true;
    await libc.prepare().catch((failure) => log("error", "a call of the C library is missing", { failure }));
    growDisks(libc, log);
    loadBalloonLater(descriptors, log);
    await sessions.recover().catch((failure) =>
      log("error", "cannot look for earlier sessions", { failure })
    );
  };

  const serveVsock = async () => {
    await ready; // the transport's module may come late
    const listener = listenVsock(AGENT_PORT, log);
    if (listener) await acceptAll(listener, serve, log);
  };
  const serveUnix = async () => await acceptAll(await listenUnix(socketPath), serve, log);
  await Promise.all([serveSerialPort(context, ready, serve), serveVsock(), serveUnix()]);
}

/** A bundle beside this one, inside the executable; see `scripts/permissions.ts`. */
const loadSshServer: LoadSshServer = async () =>
  await import(new URL("./ssh_server/server.js", import.meta.url).href);

/** @param ready by then its module is loaded, which on a crowded host may take longer than it is looked for */
async function serveSerialPort(
  { descriptors }: ServerContext,
  ready: Promise<void>,
  serve: (connection: Connection) => Promise<void>,
): Promise<void> {
  const findIt = () => findSerialPort(descriptors.libc);
  const device = await findIt() ?? await ready.then(findIt);
  if (!device) return;
  const port = openSerialPort(descriptors, device);
  await new MuxGuest({ clock: { sleep }, log }, port, (guestPort) => {
    if (guestPort !== AGENT_PORT) return undefined;
    return (stream) => void serve(stream);
  }).run();
}

function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}

const { build, args } = takeBuildStamp(Deno.args);
/** [--when FILE] [SOCKET] */
const [readyPath, socketPath = SOCKET_PATH] = args[0] === "--when" ? args.slice(1) : [undefined, ...args];

if (import.meta.main) {
  // All sessions and commands would end with the agent: a failure that nobody waited for is only told.
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    log("error", "a failure that nobody waited for", { failure: event.reason });
  });
  try {
    await main(socketPath, readyPath);
  } catch (failure) {
    log("error", "the agent ends", { reason: reasonOf(failure) });
    Deno.exit(1);
  }
}
