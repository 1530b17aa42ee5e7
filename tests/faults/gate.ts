/**
 * Where faults come from: every effect of a daemon passes a gate, which counts it by name, and at one of them kills
 * the process or lets the effect fail.
 */
import { BangerError } from "../../lib/base/errors.ts";
import { osError } from "../../lib/sys/os_errors.ts";

export const FAULT_ERRORS = ["ENOSPC", "EIO", "EMFILE", "EACCES"] as const;
export type FaultError = typeof FAULT_ERRORS[number];

/** What happens at the `occurrence`th effect called `point` from now on. */
export type Plan =
  | { readonly kind: "none" }
  /** `middle`: half of a write is on the disk. `delayMs`, of `after`: the daemon goes on for so long. */
  | {
    readonly kind: "kill";
    readonly point: string;
    readonly occurrence: number;
    readonly when: "before" | "middle" | "after";
    readonly delayMs?: number;
  }
  /** `exits`: a process that is started ends at once. */
  | {
    readonly kind: "fail";
    readonly point: string;
    readonly occurrence: number;
    readonly error: FaultError | "exits";
  };

/** How an effect can be made to fail half-way, or as a process does. */
export interface Variants<T> {
  /** Does half of it. */
  readonly half?: () => Promise<void>;
  /** A process that ends at once. */
  readonly exits?: () => Promise<T>;
}

export class Gate {
  /** Kept out of names. */
  readonly #home: string;
  #plan: Plan = { kind: "none" };
  #counts = new Map<string, number>();
  #hasFired = false;

  constructor(home: string) {
    this.#home = home;
  }

  arm(plan: Plan): void {
    this.#plan = plan;
    this.#counts = new Map();
    this.#hasFired = false;
  }

  /** How often each effect came since `arm`, in the order of their first. */
  get report(): { readonly hasFired: boolean; readonly counts: Readonly<Record<string, number>> } {
    return { hasFired: this.#hasFired, counts: Object.fromEntries(this.#counts) };
  }

  /** @param verb with `path` it is the effect's name */
  async pass<T>(verb: string, path: string, act: () => Promise<T>, variants: Variants<T> = {}): Promise<T> {
    const plan = this.#take(`${verb} ${this.nameOf(path)}`);
    if (plan?.kind === "kill") {
      if (plan.when === "middle") await variants.half?.();
      if (plan.when !== "after") await die();
      const made = await act();
      setTimeout(() => void die(), plan.delayMs ?? 0);
      if (!plan.delayMs) await die();
      return made;
    }
    if (plan?.kind === "fail") {
      if (plan.error === "exits" && variants.exits) return await variants.exits();
      // What is written atomically cleans up after itself; into a file, a part may get.
      if (plan.error === "ENOSPC" && verb === "write into") await variants.half?.();
      throw failure(verb, path, plan.error === "exits" ? "EIO" : plan.error);
    }
    return await act();
  }

  /** As `pass`, for the database, whose calls do not wait. `fail` makes what SQLite throws. */
  passSync<T>(name: string, act: () => T, fail: (error: FaultError) => Error): T {
    const plan = this.#take(name);
    if (plan?.kind === "kill") {
      if (plan.when !== "after") dieNow();
      const made = act();
      if (!plan.delayMs) dieNow();
      setTimeout(dieNow, plan.delayMs);
      return made;
    }
    if (plan?.kind === "fail") throw fail(plan.error === "exits" ? "EIO" : plan.error);
    return act();
  }

  /** The same for every run: without the home, and with words for what is random. */
  nameOf(path: string): string {
    return path.replaceAll(this.#home, "")
      .replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, "UUID")
      .replace(/\b[0-9a-f]{64}\b/g, "HASH")
      .replace(/\b[0-9a-f]{12}\b/g, "ID")
      .replace(/\b\d{13}\b/g, "TIME")
      .replace(/\/proc\/\d+/, "/proc/PID");
  }

  #take(name: string): Plan | undefined {
    const count = (this.#counts.get(name) ?? 0) + 1;
    this.#counts.set(name, count);
    const plan = this.#plan;
    if (plan.kind === "none" || plan.point !== name || plan.occurrence !== count) return undefined;
    this.#hasFired = true;
    return plan;
  }
}

/** No handler runs, nothing is flushed: as the kernel's own SIGKILL. */
function dieNow(): void {
  Deno.kill(Deno.pid, "SIGKILL");
}

function die(): Promise<never> {
  dieNow();
  return new Promise(() => {});
}

function failure(verb: string, path: string, code: FaultError): BangerError {
  return osError(`${verb} ${path}`, Object.assign(new Error(`${code} (made up)`), { code }));
}
