import { type ApiClient, apiClient } from "../api/client.ts";
import { buildId, type BuildStamp } from "../base/build.ts";
import { BangerError } from "../base/errors.ts";
import type { Clock, CommandLine, Files, Processes } from "../base/host.ts";
import { preparePrivateDirectory } from "../base/private_directory.ts";
import type { DaemonAccess } from "./command.ts";

const START_TIMEOUT_MS = 20_000;
const STOP_TIMEOUT_MS = 10_000;
/** What it cancels is undone first, and a VM that shuts down is waited for. */
const FORCED_STOP_TIMEOUT_MS = 90_000;
const POLL_MS = 10;
const MAX_LOG_BYTES = 64 * 1024 * 1024;

export interface DaemonLocation {
  readonly build: BuildStamp;
  readonly runtimeDirectory: string;
  readonly stateDirectory: string;
  readonly logPath: string;
  readonly startLock: string;
  readonly uid: number;
  /** Makes the daemon's executable ready. */
  command(): Promise<CommandLine>;
  send(url: string, init: RequestInit): Promise<Response>;
  warn(text: string): Promise<void>;
}

type Deps = {
  clock: Clock;
  files: Files;
  processes: Pick<Processes, "startInBackground" | "identify" | "isAlive">;
};

/** Reaches the daemon over its socket, and starts it where it does not run. */
export function daemonAccess(deps: Deps, location: DaemonLocation): DaemonAccess {
  const { files } = deps;
  const client = apiClient(location.send);
  return {
    logPath: location.logPath,
    async connectIfRunning() {
      return await findVersion(client) ? client : undefined;
    },
    async connect() {
      const running = await findVersion(client);
      if (running === buildId(location.build)) return client;
      await files.makeDirectory(location.stateDirectory, 0o700);
      await preparePrivateDirectory(files, location.runtimeDirectory, location.uid);
      // Of several first commands one starts the daemon. The others wait for that, and find it: none of them
      // starts another one later, when somebody may have stopped the first.
      await using _starting = await files.lock(location.startLock);
      const since = await findVersion(client);
      if (since === buildId(location.build)) return client;
      if (since && !(await stopOther(deps, client, location))) return client;
      await startDaemon(deps, client, location);
      const { notices = [] } = await (await client.v1.version.$get()).json();
      for (const notice of notices) await location.warn(notice);
      return client;
    },
    stop: (force) => stopDaemon(deps, client, force),
  };
}

/** @returns the running daemon's build id; undefined where none runs */
async function findVersion(client: ApiClient): Promise<string | undefined> {
  try {
    return (await (await client.v1.version.$get()).json()).buildId;
  } catch (thrown) {
    if (isNobodyThere(thrown)) return undefined;
    throw thrown;
  }
}

function isNobodyThere(thrown: unknown): boolean {
  return thrown instanceof BangerError &&
    (thrown.code === "not_found" || thrown.code === "connection_failed");
}

/** A daemon of another build makes room, unless something would be cut. @returns whether it did */
async function stopOther({ clock }: Deps, client: ApiClient, location: DaemonLocation): Promise<boolean> {
  try {
    await client.v1.shutdown.$post({ json: { force: false } });
  } catch (thrown) {
    if (isNobodyThere(thrown)) return true;
    if (!(thrown instanceof BangerError) || thrown.code !== "in_use") throw thrown;
    await location.warn("the daemon is of another build and busy; it is replaced once it is idle");
    return false;
  }
  const deadlineMs = clock.monotonicMs() + STOP_TIMEOUT_MS;
  while (await findVersion(client) !== undefined) {
    if (clock.monotonicMs() > deadlineMs) {
      throw new BangerError(
        "daemon_unavailable",
        `Cannot replace the daemon of another build: it does not end`,
        "See banger daemon status, and end that process",
      );
    }
    await clock.sleep(POLL_MS);
  }
  return true;
}

async function startDaemon(deps: Deps, client: ApiClient, location: DaemonLocation): Promise<void> {
  const { clock, files, processes } = deps;
  await boundLog(files, location.logPath);
  const logStartBytes = (await files.stat(location.logPath))?.sizeBytes ?? 0;
  // Not where the user happens to be: that directory may be removed while the daemon lives.
  const command = { ...await location.command(), cwd: "/" };
  let process = await processes.startInBackground(command, location.logPath);
  const deadlineMs = clock.monotonicMs() + START_TIMEOUT_MS;
  for (;;) {
    if (await findVersion(client) !== undefined) return;
    const exitCode = process.exitCode();
    if (exitCode !== undefined && exitCode !== 0) {
      throw await startFailure(files, location.logPath, logStartBytes);
    }
    // Code 0: another daemon still held the lock, and may be about to answer or to end.
    if (exitCode === 0) process = await processes.startInBackground(command, location.logPath);
    if (clock.monotonicMs() > deadlineMs) {
      throw new BangerError(
        "daemon_unavailable",
        `Cannot reach the daemon: it did not answer within ${START_TIMEOUT_MS / 1000} s`,
        `See its log: ${location.logPath}`,
      );
    }
    await clock.sleep(POLL_MS);
  }
}

/** Asks the daemon to end and waits until its process has. @returns false where none runs */
async function stopDaemon({ clock, processes }: Deps, client: ApiClient, force: boolean): Promise<boolean> {
  try {
    const { pid } = await (await client.v1.version.$get()).json();
    const daemon = await processes.identify(pid);
    await client.v1.shutdown.$post({ json: { force } });
    const deadlineMs = clock.monotonicMs() + FORCED_STOP_TIMEOUT_MS;
    while (daemon && await processes.isAlive(daemon)) {
      if (clock.monotonicMs() > deadlineMs) {
        const hint = `End process ${pid}: what it was doing is finished or undone when the next one starts`;
        throw new BangerError("daemon_unavailable", "Cannot stop the daemon: it does not end", hint);
      }
      await clock.sleep(POLL_MS);
    }
    return true;
  } catch (thrown) {
    if (isNobodyThere(thrown)) return false;
    throw thrown;
  }
}

async function boundLog(files: Pick<Files, "stat" | "rename">, path: string): Promise<void> {
  const stat = await files.stat(path);
  if (stat && stat.sizeBytes > MAX_LOG_BYTES) await files.rename(path, `${path}.old`);
}

/** The daemon prints why it cannot run as its last line: an error body as JSON. */
async function startFailure(files: Files, logPath: string, fromBytes: number): Promise<BangerError> {
  const log = new TextDecoder().decode(await files.readBytes(logPath, MAX_LOG_BYTES * 2));
  const lastLine = log.slice(-64 * 1024).trimEnd().split("\n").at(-1) ?? "";
  const hint = `See its log: ${logPath}`;
  const fallback = new BangerError("daemon_unavailable", "Cannot start the daemon: it ended at once", hint);
  if (log.length <= fromBytes) return fallback;
  try {
    const parsed: unknown = JSON.parse(lastLine);
    if (typeof parsed !== "object" || parsed === null || !("error" in parsed)) return fallback;
    return BangerError.fromBody(parsed.error, fallback.message);
  } catch (thrown) {
    if (thrown instanceof SyntaxError) return fallback;
    throw thrown;
  }
}
