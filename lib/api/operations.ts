import { BangerError, firstFailure, reasonOf } from "../base/errors.ts";
import type { Clock, Log, Progress } from "../base/host.ts";
import { quote } from "../base/names.ts";
import type { OperationEvent, OperationView } from "./contract.ts";
import type { Services } from "./services.ts";

/** Finished operations that can still be looked at. */
const KEPT_FINISHED = 100;
/** Of one operation; updates replace each other, so only stages and notes count. */
const KEPT_EVENTS = 500;
/** Of the beginning of an id that names its operation. */
const MIN_ID_CHARACTERS = 4;
/** Progress within a stage is told at most this often. */
const UPDATE_INTERVAL_MS = 100;

/** @returns the name of what was made, or of what was changed */
export type Work = (progress: Progress, signal: AbortSignal) => Promise<string>;

/**
 * Work that outlives the request that began it. Any number of clients can follow one. It lives in the
 * daemon's memory: what must survive the daemon is in the state of VMs and images.
 */
export class Operations {
  readonly #deps: { clock: Pick<Clock, "now">; log: Log };
  readonly #operations = new Map<string, Operation>();

  constructor(deps: { clock: Pick<Clock, "now">; log: Log }) {
    this.#deps = deps;
  }

  begin(kind: string, work: Work): OperationView {
    const operation = new Operation(kind, this.#deps.clock);
    this.#operations.set(operation.id, operation);
    void operation.run(work, this.#deps.log).then(() => this.#forgetOld());
    return operation.view();
  }

  /** Newest last. */
  list(): OperationView[] {
    return [...this.#operations.values()].map((operation) => operation.view());
  }

  runningCount(): number {
    return this.list().filter(({ state }) => state === "running").length;
  }

  get: Services["operations"]["get"] = (id) => this.#get(id).view();
  events: Services["operations"]["events"] = (id) => this.#get(id).events();

  cancel(id: string): OperationView {
    const operation = this.#get(id);
    operation.cancel();
    return operation.view();
  }

  /** Asks every running operation to stop and waits until all have. */
  async cancelAll(): Promise<void> {
    for (const operation of this.#operations.values()) operation.cancel();
    await Promise.all([...this.#operations.values()].map((operation) => operation.finished));
  }

  #get(id: string): Operation {
    const operation = this.#operations.get(id) ?? this.#findByStart(id);
    if (operation) return operation;
    throw new BangerError(
      "not_found",
      `Cannot find operation ${quote(id)}`,
      "It may have ended before the daemon started",
    );
  }

  /** People copy the beginning of an id. */
  #findByStart(start: string): Operation | undefined {
    if (start.length < MIN_ID_CHARACTERS) return undefined;
    const found = [...this.#operations.values()].filter(({ id }) => id.startsWith(start));
    return found.length === 1 ? found[0] : undefined;
  }

  #forgetOld(): void {
    const finished = [...this.#operations.values()].filter((operation) =>
      operation.view().state !== "running"
    );
    for (const { id } of finished.slice(0, -KEPT_FINISHED)) this.#operations.delete(id);
  }
}

class Operation {
  readonly id = crypto.randomUUID();
  readonly #kind: string;
  readonly #clock: Pick<Clock, "now">;
  readonly #startedAtMs: number;
  readonly #controller = new AbortController();
  readonly #finished = Promise.withResolvers<void>();
  readonly #past: OperationEvent[] = [];
  readonly #followers = new Set<(event: OperationEvent) => void>();
  #stage: string | undefined;
  #outcome: Pick<OperationView, "state" | "result" | "error"> = { state: "running" };
  #lastUpdateMs = 0;

  constructor(kind: string, clock: Pick<Clock, "now">) {
    this.#kind = kind;
    this.#clock = clock;
    this.#startedAtMs = clock.now();
  }

  get finished(): Promise<void> {
    return this.#finished.promise;
  }

  view(): OperationView {
    const startedAt = new Date(this.#startedAtMs).toISOString();
    const stage = this.#stage === undefined ? {} : { stage: this.#stage };
    return { id: this.id, kind: this.#kind, startedAt, ...stage, ...this.#outcome };
  }

  cancel(): void {
    this.#controller.abort(new BangerError("cancelled", `Cannot finish ${this.#kind}: it was cancelled`));
  }

  async run(work: Work, log: Log): Promise<void> {
    try {
      const result = await work(this.#progress(), this.#controller.signal);
      this.#outcome = { state: "done", result };
    } catch (thrown) {
      const error = this.#toError(firstFailure(thrown));
      if (error.code === "internal") log("error", "operation failed", { kind: this.#kind, thrown });
      this.#outcome = { state: error.code === "cancelled" ? "cancelled" : "failed", error: error.toBody() };
    }
    this.#tell({ type: "finished", atMs: this.#atMs(), operation: this.view() });
    this.#finished.resolve();
  }

  async *events(): AsyncGenerator<OperationEvent> {
    const queue = [...this.#past];
    let wake = Promise.withResolvers<void>();
    const follower = (event: OperationEvent) => {
      queue.push(event);
      wake.resolve();
    };
    this.#followers.add(follower);
    try {
      for (;;) {
        const event = queue.shift();
        if (event) {
          yield event;
          if (event.type === "finished") return;
        } else {
          await wake.promise;
          wake = Promise.withResolvers();
        }
      }
    } finally {
      this.#followers.delete(follower);
    }
  }

  #atMs(): number {
    return this.#clock.now() - this.#startedAtMs;
  }

  #progress(): Progress {
    return {
      stage: (name) => {
        this.#stage = name;
        this.#tell({ type: "stage", name, atMs: this.#atMs() });
      },
      note: (text) => this.#tell({ type: "note", text }),
      update: (done, total) => {
        const now = this.#clock.now();
        if (now - this.#lastUpdateMs < UPDATE_INTERVAL_MS) return;
        this.#lastUpdateMs = now;
        this.#tell(total === undefined ? { type: "update", done } : { type: "update", done, total });
      },
    };
  }

  #tell(event: OperationEvent): void {
    if (event.type !== "update" && this.#past.length < KEPT_EVENTS) this.#past.push(event);
    for (const follower of this.#followers) follower(event);
  }

  /** Work that was cancelled may fail in any way: what the user asked for is the reason to show. */
  #toError(thrown: unknown): BangerError {
    if (this.#controller.signal.aborted) return this.#controller.signal.reason as BangerError;
    if (thrown instanceof BangerError) return thrown;
    return new BangerError(
      "internal",
      `Cannot finish ${this.#kind}: ${reasonOf(thrown)}`,
      "See the daemon's log: banger daemon logs",
    );
  }
}
