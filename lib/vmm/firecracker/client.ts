import { BangerError } from "../../base/errors.ts";
import type { Host } from "../../base/host.ts";
import { quote } from "../../base/names.ts";
import { type Deadline, withDeadline } from "../deadline.ts";
import type {
  ActionType,
  ApiRequest,
  Balloon,
  BalloonStatistics,
  BootSource,
  Drive,
  InstanceInfo,
  Logger,
  MachineConfiguration,
  NetworkInterface,
  SerialDevice,
  Vsock,
} from "./api.ts";
import { exchange } from "./http.ts";

const REQUEST_TIMEOUT_MS = 10_000;

/** Firecracker's own refusal: it is there, and says no. */
export class FirecrackerFault extends Error {
  override readonly name = "FirecrackerFault";

  constructor(readonly request: string, readonly status: number, readonly fault: string) {
    super(`Firecracker refuses ${request}: ${fault}`);
  }
}

/**
 * Firecracker's API, one method for each request that banger makes; one connection each, so that the next
 * daemon finds nothing half-said.
 *
 * Every method throws {FirecrackerFault} where it is refused, and {BangerError} `connection_failed` or
 * `corrupt_data` where Firecracker does not answer, or answers what its description does not allow.
 */
export class FirecrackerClient {
  readonly #host: Pick<Host, "sockets" | "clock">;
  readonly #socketPath: string;
  readonly #deadline: Deadline;

  /** @param signal cuts requests short, which then throw its reason */
  constructor(host: Pick<Host, "sockets" | "clock">, socketPath: string, signal?: AbortSignal) {
    this.#host = host;
    this.#socketPath = socketPath;
    this.#deadline = { timeoutMs: REQUEST_TIMEOUT_MS, ...(signal ? { signal } : {}) };
  }

  async version(): Promise<string> {
    const { firecracker_version: version } = await this.#get("/version");
    return text(version, "firecracker_version");
  }

  async instance(): Promise<InstanceInfo> {
    const { id, state, vmm_version } = await this.#get("/");
    if (state !== "Not started" && state !== "Running" && state !== "Paused") throw unexpected("state");
    return { id: text(id, "id"), state, vmmVersion: text(vmm_version, "vmm_version") };
  }

  async balloonStatistics(): Promise<BalloonStatistics> {
    const fields = await this.#get("/balloon/statistics");
    const optional = (name: string) => fields[name] === undefined ? undefined : count(fields[name], name);
    const free = optional("free_memory");
    const available = optional("available_memory");
    return {
      targetMib: count(fields.target_mib, "target_mib"),
      actualMib: count(fields.actual_mib, "actual_mib"),
      ...(free === undefined ? {} : { freeMemoryBytes: free }),
      ...(available === undefined ? {} : { availableMemoryBytes: available }),
    };
  }

  putLogger(logger: Logger): Promise<void> {
    return this.#change("PUT", "/logger", logger);
  }

  putMetrics(metricsPath: string): Promise<void> {
    return this.#change("PUT", "/metrics", { metrics_path: metricsPath });
  }

  putSerial(serial: SerialDevice): Promise<void> {
    return this.#change("PUT", "/serial", serial);
  }

  putMachineConfiguration(configuration: MachineConfiguration): Promise<void> {
    return this.#change("PUT", "/machine-config", configuration);
  }

  putBootSource(source: BootSource): Promise<void> {
    return this.#change("PUT", "/boot-source", source);
  }

  /** Drives come to the guest in the order in which they are put. */
  putDrive(drive: Drive): Promise<void> {
    return this.#change("PUT", `/drives/${encodeURIComponent(drive.drive_id)}`, drive);
  }

  putNetworkInterface(network: NetworkInterface): Promise<void> {
    return this.#change("PUT", `/network-interfaces/${encodeURIComponent(network.iface_id)}`, network);
  }

  putVsock(vsock: Vsock): Promise<void> {
    return this.#change("PUT", "/vsock", vsock);
  }

  putEntropy(): Promise<void> {
    return this.#change("PUT", "/entropy", {});
  }

  putBalloon(balloon: Balloon): Promise<void> {
    return this.#change("PUT", "/balloon", balloon);
  }

  resizeBalloon(amountMib: number): Promise<void> {
    return this.#change("PATCH", "/balloon", { amount_mib: amountMib });
  }

  /** Makes the device read its file's size again. */
  refreshDrive(driveId: string, pathOnHost: string): Promise<void> {
    const body = { drive_id: driveId, path_on_host: pathOnHost };
    return this.#change("PATCH", `/drives/${encodeURIComponent(driveId)}`, body);
  }

  act(action: ActionType): Promise<void> {
    return this.#change("PUT", "/actions", { action_type: action });
  }

  pause(): Promise<void> {
    return this.#change("PATCH", "/vm", { state: "Paused" });
  }

  resume(): Promise<void> {
    return this.#change("PATCH", "/vm", { state: "Resumed" });
  }

  async #change(method: "PUT" | "PATCH", path: string, body: object): Promise<void> {
    await this.#send({ method, path, body });
  }

  async #get(path: string): Promise<Readonly<Record<string, unknown>>> {
    const answer = parseJson(await this.#send({ method: "GET", path }));
    if (typeof answer !== "object" || answer === null || Array.isArray(answer)) {
      throw unexpected("its answer");
    }
    return answer as Record<string, unknown>;
  }

  /** @returns the body of a successful answer */
  async #send(request: ApiRequest): Promise<string> {
    const connection = await this.#host.sockets.connectUnix(this.#socketPath);
    const what = `${request.method} ${request.path}`;
    const { status, body } = await withDeadline(
      this.#host.clock,
      connection,
      this.#deadline,
      `Firecracker over ${this.#socketPath}`,
      () => exchange(connection, request),
    );
    if (status >= 200 && status < 300) return body;
    throw new FirecrackerFault(what, status, faultOf(status, body));
  }
}

/** Source: the API description, "Error". */
function faultOf(status: number, body: string): string {
  const answer = parseJson(body);
  const fault = typeof answer === "object" && answer !== null && "fault_message" in answer
    ? answer.fault_message
    : undefined;
  return typeof fault === "string" ? quote(fault) : `status ${status}`;
}

function parseJson(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch (thrown) {
    if (thrown instanceof SyntaxError) return undefined;
    throw thrown;
  }
}

function text(value: unknown, name: string): string {
  if (typeof value !== "string" || value.length > 256) throw unexpected(name);
  return value;
}

function count(value: unknown, name: string): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) throw unexpected(name);
  return value;
}

function unexpected(name: string): BangerError {
  return new BangerError("corrupt_data", `Cannot understand Firecracker's API: ${name} is not as described`);
}
