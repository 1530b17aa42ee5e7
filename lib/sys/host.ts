import type { Host, Log } from "../base/host.ts";
import { systemClock } from "./clock.ts";
import { systemFiles } from "./files.ts";
import { silentLog } from "./log.ts";
import { systemNetwork } from "./network.ts";
import { systemProcesses } from "./processes.ts";
import { systemSockets } from "./sockets.ts";

/** The real outside world. Built only in `main.ts`, `daemon.ts`, scripts and tests. */
export function realHost(options: { log?: Log } = {}): Host {
  return {
    clock: systemClock,
    files: systemFiles(systemClock),
    processes: systemProcesses(systemClock),
    sockets: systemSockets,
    network: systemNetwork,
    log: options.log ?? silentLog,
  };
}
