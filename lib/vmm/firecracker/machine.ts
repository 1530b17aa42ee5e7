import { BangerError, reasonOf } from "../../base/errors.ts";
import type { Host } from "../../base/host.ts";
import type { AgentEndpoint, Machine, MachineRecord, MachineStatus, RawDrive } from "../driver.ts";
import { VmmProcess } from "../vmm_process.ts";
import { driveInJail, removeJail } from "./jail.ts";
import type { BalloonStatistics, InstanceState } from "./api.ts";
import { FirecrackerClient, FirecrackerFault } from "./client.ts";

export type FirecrackerHost = Pick<Host, "processes" | "sockets" | "files" | "clock" | "log">;

const STATUSES: Readonly<Record<InstanceState, MachineStatus>> = {
  Running: "running",
  Paused: "paused",
  "Not started": "failed",
};

/** A running Firecracker, known by its process identity and spoken to over its API socket. */
export class FirecrackerMachine implements Machine {
  readonly record: MachineRecord;
  readonly endpoint: AgentEndpoint;
  readonly #client: FirecrackerClient;
  readonly #process: VmmProcess;
  readonly #host: FirecrackerHost;

  constructor(host: FirecrackerHost, record: MachineRecord) {
    this.record = record;
    this.endpoint = record.endpoint;
    this.#client = new FirecrackerClient(host, record.controlSocket);
    this.#process = new VmmProcess(host, record);
    this.#host = host;
  }

  isAlive(): Promise<boolean> {
    return this.#process.isAlive();
  }

  cpuTimeMs(): Promise<number | undefined> {
    return this.#process.cpuTimeMs();
  }

  async status(): Promise<MachineStatus> {
    if (!(await this.isAlive())) return "ended";
    const { state } = await this.#ask("look at", () => this.#client.instance());
    return STATUSES[state];
  }

  async pause(): Promise<void> {
    await this.#ask("pause", () => this.#client.pause());
  }

  async resume(): Promise<void> {
    await this.#ask("resume", () => this.#client.resume());
  }

  async growDrive({ id, path }: Pick<RawDrive, "id" | "path">, sizeBytes: number): Promise<void> {
    {
      await using file = await this.#host.files.open(path, { read: true, write: true });
      if (await file.sizeBytes() < sizeBytes) await file.truncate(sizeBytes);
    }
    const known = this.record.jail ? driveInJail(id) : path;
    await this.#ask("grow a disk of", () => this.#client.refreshDrive(id, known));
  }

  /** As Ctrl-Alt-Del, which an init takes for a reboot, and a reboot ends Firecracker. */
  async powerButton(): Promise<void> {
    await this.#ask("press the power button of", () => this.#client.act("SendCtrlAltDel"));
  }

  /**
   * Takes memory back from the guest, which decides how fast and whether; 0 gives it all back.
   *
   * @param amountMib the balloon's size
   */
  async reclaimMemory(amountMib: number): Promise<void> {
    await this.#ask("take memory from", () => this.#client.resizeBalloon(amountMib));
  }

  /** What the guest said of its memory within the last seconds; fails until its balloon driver runs. */
  async memoryStatistics(): Promise<BalloonStatistics> {
    return await this.#ask("look at the memory of", () => this.#client.balloonStatistics());
  }

  async waitForExit(timeoutMs: number): Promise<boolean> {
    if (!(await this.#process.waitForExit(timeoutMs))) return false;
    if (this.record.jail) await removeJail(this.#host, this.record.jail);
    return true;
  }

  async kill(): Promise<void> {
    await this.#process.kill();
    if (this.record.jail) await removeJail(this.#host, this.record.jail);
  }

  async #ask<T>(verb: string, request: () => Promise<T>): Promise<T> {
    const { machineId } = this.record;
    try {
      return await request();
    } catch (thrown) {
      const cause = { cause: thrown };
      if (!(await this.isAlive())) {
        const why = `Cannot ${verb} machine ${machineId}: it has ended`;
        throw new BangerError("wrong_state", why, "Start the VM again", cause);
      }
      const isRefusal = thrown instanceof FirecrackerFault;
      throw new BangerError(
        isRefusal ? "wrong_state" : "guest_failed",
        `Cannot ${verb} machine ${machineId}: ${reasonOf(thrown)}`,
        isRefusal ? undefined : "If it stays so, kill the VM: banger vm kill",
        cause,
      );
    }
  }
}
