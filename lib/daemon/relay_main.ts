import { BangerError, reasonOf } from "../base/errors.ts";
import type { Host } from "../base/host.ts";
import { runRelay } from "../guest/relay/relay.ts";
import { networkFiles } from "../store/paths.ts";
import type { RelayOptions } from "../vm/deps.ts";
import { runtimeSockets } from "../vmm/driver.ts";

const CONSOLE_LOG_MAX_BYTES = 1024 * 1024;
const NETWORK_AGAIN_MS = 1000;

/** What `relayMain` reads back. The runtime directory in it is how a stray relay is found again. */
export function relayArguments({ runtimeDirectory, consoleLogPath, carries }: RelayOptions): string[] {
  return ["relay", `${runtimeDirectory}/`, consoleLogPath, carries];
}

/**
 * Runs the relay of one machine until SIGTERM, or until the machine is gone.
 *
 * @param self the words that start this program
 */
export async function relayMain(
  host: Host,
  args: readonly string[],
  self: readonly string[],
  onSignal: (signal: "SIGTERM", handler: () => void) => void,
): Promise<void> {
  const [directory, consoleLogPath, mode] = args;
  if (!directory?.endsWith("/") || !consoleLogPath || !isMode(mode)) {
    throw new BangerError("invalid_argument", "Cannot run the relay: it is started by the daemon only");
  }
  const sockets = runtimeSockets(directory.slice(0, -1));
  const stop = new AbortController();
  onSignal("SIGTERM", () => stop.abort());
  const carry = () => carryNetwork(host, directory.slice(0, -1), self, stop.signal);
  if (mode === "network-only") return await carry();
  let network: Promise<void> | undefined;
  // The machine is started once the sockets are there; whoever serves its network may be loaded meanwhile.
  const onReady = () => void (network = carry());
  await runRelay(
    host,
    {
      consoleSocketPath: sockets.console,
      ...(mode === "serial" ? { serialSocketPath: sockets.serial } : {}),
      hybridSocketPath: sockets.agent,
      consoleLogPath,
      consoleLogMaxBytes: CONSOLE_LOG_MAX_BYTES,
    },
    stop.signal,
    onReady,
  );
  stop.abort();
  await network;
}

function isMode(mode: string | undefined): mode is RelayOptions["carries"] {
  return mode === "serial" || mode === "console-only" || mode === "network-only";
}

/** Streams and console must not end with the network. */
async function carryNetwork(
  host: Host,
  runtimeDirectory: string,
  self: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const paths = networkFiles(runtimeDirectory);
  // Loaded when there is one to carry: the relay of a machine without a network stays small.
  if (!(await host.files.stat(paths.settings))) return;
  const { runNetworkRole } = await import("./network_role.ts");
  while (!signal.aborted) {
    try {
      return await runNetworkRole(
        host,
        { ...paths, tap: runtimeSockets(runtimeDirectory).tap },
        self,
        signal,
      );
    } catch (thrown) {
      host.log("error", "the network ended", { thrown, reason: reasonOf(thrown) });
    }
    await host.clock.sleep(NETWORK_AGAIN_MS, signal).catch(() => {}); // the loop's condition sees it
  }
}
