import { BangerError } from "../base/errors.ts";
import type { Host } from "../base/host.ts";
import { type MachineRecord, runtimeSockets } from "./driver.ts";
import { endHelpers } from "./helpers.ts";

/** After SIGKILL: the kernel still has to let go of its memory and of a write in flight. */
const KILL_TIMEOUT_MS = 10_000;

/** The part of a machine that is the same for every VMM: a process, what ran beside it, and what they leave. */
export class VmmProcess {
  readonly #host: Pick<Host, "processes" | "files">;
  readonly #record: MachineRecord;

  constructor(host: Pick<Host, "processes" | "files">, record: MachineRecord) {
    this.#host = host;
    this.#record = record;
  }

  isAlive(): Promise<boolean> {
    return this.#host.processes.isAlive(this.#record.process);
  }

  cpuTimeMs(): Promise<number | undefined> {
    return this.#host.processes.cpuTimeMs(this.#record.process);
  }

  /** As `Machine.waitForExit`. */
  async waitForExit(timeoutMs: number): Promise<boolean> {
    if (!(await this.#host.processes.waitForExit(this.#record.process, timeoutMs))) return false;
    await this.#clean();
    return true;
  }

  /** As `Machine.kill`. */
  async kill(): Promise<void> {
    const { machineId, process } = this.#record;
    await this.#host.processes.signal(process, "SIGKILL");
    if (!(await this.#host.processes.waitForExit(process, KILL_TIMEOUT_MS))) {
      throw new BangerError(
        "host_unsupported",
        `Cannot kill machine ${machineId}: process ${process.pid} outlives SIGKILL`,
        "It is most likely waiting for a disk; see its state in ps",
      );
    }
    await this.#clean();
  }

  async #clean(): Promise<void> {
    const { helpers, controlSocket, endpoint, driver, runtimeDirectory } = this.#record;
    await endHelpers(this.#host, helpers);
    await this.#host.files.remove(controlSocket);
    // Over virtio-serial the agent's socket is the relay's, and still in use.
    const isOwnEndpoint = driver === "firecracker" || helpers.length > 0;
    if (isOwnEndpoint && endpoint.kind === "hybrid") await this.#host.files.remove(endpoint.path);
    if (helpers.length > 0) await this.#host.files.remove(runtimeSockets(runtimeDirectory).vhostUser);
  }
}
