import { BangerError, reasonOf } from "../../base/errors.ts";
import type { Host } from "../../base/host.ts";
import type { AgentEndpoint, Machine, MachineRecord, MachineStatus } from "../driver.ts";
import { endHelpers } from "../helpers.ts";
import { type QmpCommand, QmpRefusal, runQmpCommands } from "./qmp.ts";

export type QemuHost = Pick<Host, "processes" | "sockets" | "files" | "clock" | "log">;

const COMMAND_TIMEOUT_MS = 10_000;
/** After SIGKILL: the kernel still has to let go of its memory and of a write in flight. */
const KILL_TIMEOUT_MS = 10_000;

/** QEMU's run states (qapi/run-state.json) in our words. */
const STATUSES: Readonly<Record<string, MachineStatus>> = {
  running: "running",
  paused: "paused",
  prelaunch: "paused",
  inmigrate: "paused",
  postmigrate: "paused",
  "finish-migrate": "paused",
  "save-vm": "paused",
  "restore-vm": "paused",
  suspended: "paused",
  "io-error": "out-of-space",
  shutdown: "ended",
};

/** A running QEMU, known by its process identity and spoken to over QMP. */
export class QemuMachine implements Machine {
  readonly record: MachineRecord;
  readonly endpoint: AgentEndpoint;
  readonly #host: QemuHost;
  /** QEMU takes one QMP client at a time; the next command waits for the one before. */
  #lastCommand: Promise<unknown> = Promise.resolve();

  constructor(host: QemuHost, record: MachineRecord) {
    this.#host = host;
    this.record = record;
    this.endpoint = record.endpoint;
  }

  isAlive(): Promise<boolean> {
    return this.#host.processes.isAlive(this.record.process);
  }

  cpuTimeMs(): Promise<number | undefined> {
    return this.#host.processes.cpuTimeMs(this.record.process);
  }

  async status(): Promise<MachineStatus> {
    if (!(await this.isAlive())) return "ended";
    const answer = await this.#command("look at", { name: "query-status" });
    if (typeof answer !== "object" || answer === null || !("status" in answer)) {
      throw new BangerError(
        "corrupt_data",
        `Cannot look at machine ${this.record.machineId}: QEMU tells no status`,
      );
    }
    return STATUSES[String(answer.status)] ?? "failed";
  }

  async pause(): Promise<void> {
    await this.#command("pause", { name: "stop" });
  }

  async resume(): Promise<void> {
    await this.#command("resume", { name: "cont" });
  }

  async powerButton(): Promise<void> {
    await this.#command("press the power button of", { name: "system_powerdown" });
  }

  async waitForExit(timeoutMs: number): Promise<boolean> {
    if (!(await this.#host.processes.waitForExit(this.record.process, timeoutMs))) return false;
    await this.#clean();
    return true;
  }

  async kill(): Promise<void> {
    await this.#host.processes.signal(this.record.process, "SIGKILL");
    if (!(await this.#host.processes.waitForExit(this.record.process, KILL_TIMEOUT_MS))) {
      throw new BangerError(
        "host_unsupported",
        `Cannot kill machine ${this.record.machineId}: process ${this.record.process.pid} outlives SIGKILL`,
        "It is most likely waiting for a disk; see its state in ps",
      );
    }
    await this.#clean();
  }

  /** What outlives a QEMU: its helpers, and its socket file. */
  async #clean(): Promise<void> {
    await endHelpers(this.#host, this.record.helpers);
    await this.#host.files.remove(this.record.controlSocket);
  }

  #command(verb: string, command: QmpCommand): Promise<unknown> {
    const run = this.#lastCommand.then(() => this.#runCommand(verb, command));
    // The next command runs whatever became of this one; this one's caller gets the failure.
    this.#lastCommand = run.then(() => undefined, () => undefined);
    return run;
  }

  async #runCommand(verb: string, command: QmpCommand): Promise<unknown> {
    const { machineId, controlSocket } = this.record;
    try {
      const [answer] = await runQmpCommands(this.#host, controlSocket, [command], COMMAND_TIMEOUT_MS);
      return answer;
    } catch (thrown) {
      const cause = { cause: thrown };
      if (!(await this.isAlive())) {
        throw new BangerError(
          "wrong_state",
          `Cannot ${verb} machine ${machineId}: it has ended`,
          "Start the VM again",
          cause,
        );
      }
      const code = thrown instanceof QmpRefusal ? "wrong_state" : "guest_failed";
      const hint = thrown instanceof QmpRefusal ? undefined : "If it stays so, kill the VM: banger vm kill";
      throw new BangerError(code, `Cannot ${verb} machine ${machineId}: ${reasonOf(thrown)}`, hint, cause);
    }
  }
}
