import { BangerError, reasonOf } from "../../base/errors.ts";
import type { Host } from "../../base/host.ts";
import type { AgentEndpoint, DriveId, Machine, MachineRecord, MachineStatus } from "../driver.ts";
import { VmmProcess } from "../vmm_process.ts";
import { type QmpCommand, QmpRefusal, runQmpCommands } from "./qmp.ts";

export type QemuHost = Pick<Host, "processes" | "sockets" | "files" | "clock" | "log">;

const COMMAND_TIMEOUT_MS = 10_000;

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
  "io-error": "io-error",
  shutdown: "ended",
};

/** A running QEMU, known by its process identity and spoken to over QMP. */
export class QemuMachine implements Machine {
  readonly record: MachineRecord;
  readonly endpoint: AgentEndpoint;
  readonly #host: QemuHost;
  readonly #process: VmmProcess;
  /** QEMU takes one QMP client at a time; the next command waits for the one before. */
  #lastCommand: Promise<unknown> = Promise.resolve();

  constructor(host: QemuHost, record: MachineRecord) {
    this.#host = host;
    this.record = record;
    this.endpoint = record.endpoint;
    this.#process = new VmmProcess(host, record);
  }

  isAlive(): Promise<boolean> {
    return this.#process.isAlive();
  }

  cpuTimeMs(): Promise<number | undefined> {
    return this.#process.cpuTimeMs();
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
    const status = STATUSES[String(answer.status)] ?? "failed";
    return status === "io-error" && await this.#isOutOfSpace() ? "out-of-space" : status;
  }

  /** Each disk says what became of its last write. Source: QEMU qapi/block-core.json, BlockDeviceIoStatus */
  async #isOutOfSpace(): Promise<boolean> {
    const disks = await this.#command("look at the disks of", { name: "query-block" });
    return Array.isArray(disks) &&
      disks.some((disk: unknown) =>
        typeof disk === "object" && disk !== null && "io-status" in disk && disk["io-status"] === "nospace"
      );
  }

  async pause(): Promise<void> {
    await this.#command("pause", { name: "stop" });
  }

  async resume(): Promise<void> {
    await this.#command("resume", { name: "cont" });
  }

  async growDrive({ id }: { readonly id: DriveId }, sizeBytes: number): Promise<void> {
    await this.#command("grow a disk of", {
      name: "block_resize",
      args: { "node-name": id, size: sizeBytes },
    });
  }

  async powerButton(): Promise<void> {
    await this.#command("press the power button of", { name: "system_powerdown" });
  }

  waitForExit(timeoutMs: number): Promise<boolean> {
    return this.#process.waitForExit(timeoutMs);
  }

  kill(): Promise<void> {
    return this.#process.kill();
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
      const [answer] = await runQmpCommands(this.#host, controlSocket, [command], {
        timeoutMs: COMMAND_TIMEOUT_MS,
      });
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
