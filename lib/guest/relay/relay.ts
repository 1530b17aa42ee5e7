/**
 * The relay: a small process beside each QEMU machine, which outlives the daemon.
 *
 * ```text
 *   QEMU ── console socket ──▶ console log (bounded)
 *   QEMU ── serial socket ◀──▶ mux ◀──▶ hybrid socket ── agent clients
 * ```
 *
 * QEMU connects to it and connects again where it was away; the guest behind it is not trusted.
 */
import { reasonOf } from "../../base/errors.ts";
import type { Connection, Host, Listener } from "../../base/host.ts";
import { eitherSignal } from "../../base/signals.ts";
import { MAX_STREAMS } from "../wire/mux_frames.ts";
import { ConsoleLog } from "./console_log.ts";
import { serveHybrid } from "./hybrid.ts";
import { SerialLink } from "./serial_link.ts";

export interface RelayOptions {
  readonly consoleSocketPath: string;
  /** Absent where the guest's agent is reached another way. */
  readonly serialSocketPath?: string;
  /** Where clients of the agent connect; nobody listens there without a serial socket. */
  readonly hybridSocketPath: string;
  readonly consoleLogPath: string;
  readonly consoleLogMaxBytes: number;
  /** Ends by itself after so long without a connection from QEMU. Default 60 s. */
  readonly idleTimeoutMs?: number;
}

const IDLE_TIMEOUT_MS = 60_000;
const READ_BYTES = 64 * 1024;

type RelayHost = Pick<Host, "sockets" | "files" | "clock" | "log">;

/**
 * Relays until `signal` fires or QEMU stays away. Its sockets exist when `onReady` is called and are removed
 * at the end.
 *
 * @throws {BangerError} `already_exists` where another relay serves one of the sockets
 */
export async function runRelay(
  host: RelayHost,
  options: RelayOptions,
  signal: AbortSignal,
  onReady: () => void = () => {},
): Promise<void> {
  await using console = await ConsoleLog.open(host, options.consoleLogPath, options.consoleLogMaxBytes);
  const relay = new Relay(host, console, options.idleTimeoutMs ?? IDLE_TIMEOUT_MS);
  try {
    await relay.listen(options.consoleSocketPath, (connection) => relay.serveConsole(connection));
    if (options.serialSocketPath !== undefined) {
      await relay.listen(options.serialSocketPath, (connection) => relay.serveSerial(connection));
      await relay.listen(options.hybridSocketPath, (connection) => relay.serveClient(connection));
    }
    onReady();
    await relay.untilOver(signal);
  } finally {
    await relay.close();
  }
}

class Relay {
  readonly #host: RelayHost;
  readonly #console: ConsoleLog;
  readonly #idleTimeoutMs: number;
  readonly #link: SerialLink;
  readonly #listeners: {
    readonly path: string;
    readonly listener: Listener;
    readonly accepting: Promise<void>;
  }[] = [];
  readonly #connections = new Set<Connection>();
  readonly #serving = new Set<Promise<void>>();
  #clients = 0;
  #machineConnections = 0;
  #machineChanged = Promise.withResolvers<void>();

  constructor(host: RelayHost, console: ConsoleLog, idleTimeoutMs: number) {
    this.#host = host;
    this.#console = console;
    this.#idleTimeoutMs = idleTimeoutMs;
    this.#link = new SerialLink(host);
  }

  async listen(path: string, serve: (connection: Connection) => Promise<void>): Promise<void> {
    await this.#host.sockets.removeStaleSocket(path);
    const listener = await this.#host.sockets.listenUnix(path);
    this.#listeners.push({ path, listener, accepting: this.#acceptAll(listener, serve) });
  }

  async serveConsole(connection: Connection): Promise<void> {
    using _machine = this.#machineConnected();
    const buffer = new Uint8Array(READ_BYTES);
    for (let count; (count = await connection.read(buffer)) !== null;) {
      await this.#console.append(buffer.subarray(0, count));
    }
  }

  async serveSerial(connection: Connection): Promise<void> {
    using _machine = this.#machineConnected();
    await this.#link.serve(connection);
  }

  async serveClient(connection: Connection): Promise<void> {
    if (this.#clients >= MAX_STREAMS) return;
    this.#clients++;
    try {
      await serveHybrid(this.#host.clock, connection, (gone) => this.#link.untilReady(gone));
    } finally {
      this.#clients--;
    }
  }

  /** Resolves when the signal fires, or when the machine was away for too long. */
  async untilOver(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const changed = this.#machineChanged.promise;
      const wait = new AbortController();
      using either = eitherSignal(signal, wait.signal);
      const ends = either.signal;
      const idle = this.#machineConnections > 0 ? aborted(ends) : this.#sleep(ends);
      const isOver = await Promise.race([idle, changed.then(() => false)]);
      wait.abort();
      if (isOver) return;
    }
  }

  async close(): Promise<void> {
    for (const { listener } of this.#listeners) listener.close();
    for (const connection of this.#connections) connection.close();
    this.#link.close();
    await Promise.all(this.#listeners.map(({ accepting }) => accepting));
    await Promise.all(this.#serving);
    for (const { path } of this.#listeners) await this.#host.files.remove(path);
  }

  /** @returns whether the time went by */
  #sleep(signal: AbortSignal): Promise<boolean> {
    return this.#host.clock.sleep(this.#idleTimeoutMs, signal).then(() => true, () => false);
  }

  #machineConnected(): Disposable {
    this.#countMachine(1);
    return { [Symbol.dispose]: () => this.#countMachine(-1) };
  }

  #countMachine(change: 1 | -1): void {
    this.#machineConnections += change;
    const before = this.#machineChanged;
    this.#machineChanged = Promise.withResolvers<void>();
    before.resolve();
  }

  async #acceptAll(listener: Listener, serve: (connection: Connection) => Promise<void>): Promise<void> {
    for await (const connection of listener) {
      this.#connections.add(connection);
      const serving: Promise<void> = serve(connection)
        .catch((failure) => this.#host.log("debug", "connection failed", { reason: reasonOf(failure) }))
        .finally(() => {
          connection.close();
          this.#connections.delete(connection);
          this.#serving.delete(serving);
        });
      this.#serving.add(serving);
    }
  }
}

/** @returns false, when the signal fires */
function aborted(signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) return Promise.resolve(false);
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(false), { once: true }));
}
