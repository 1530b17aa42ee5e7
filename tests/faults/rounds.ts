/** Rounds: one fault each, and a look at everything afterwards. */
import { FAULT_ERRORS, type Plan } from "./gate.ts";
import { LOOKS } from "./faulty_host.ts";
import { type Bystanders, findProblems, inventory, lookAtBystanders } from "./checks.ts";
import {
  ensureVictim,
  type Operation,
  outcomeOf,
  prepareWorld,
  type VictimState,
  victimState,
} from "./operations.ts";
import { World } from "./world.ts";

/** The daemon answers within that time of its start, whatever it finds. */
export const RECONCILE_MS = 5000;
/** For a plan whose effect comes after the answer. */
const LATE_MS = 300;

export interface Round {
  readonly operation: string;
  readonly plan: Exclude<Plan, { kind: "none" }>;
}

export interface RoundResult {
  readonly round: Round;
  /** Whether the fault came about. */
  readonly hasFired: boolean;
  readonly outcome: string;
  readonly reconcileMs: number | undefined;
  readonly problems: readonly string[];
}

/** How often each effect comes in an operation without faults. */
export type Effects = Readonly<Record<string, number>>;

/** A world with what rounds begin with, and what is known of it. */
export class Arena implements AsyncDisposable {
  readonly world: World;
  readonly #bystanders: Bystanders;
  /** By the victim's state: the files that there are where nothing went wrong. */
  readonly #inventories = new Map<VictimState, readonly string[]>();

  private constructor(world: World, bystanders: Bystanders) {
    this.world = world;
    this.#bystanders = bystanders;
  }

  static async open(): Promise<Arena> {
    const world = await World.open("stand-in");
    await world.start();
    await prepareWorld(world);
    return new Arena(world, await lookAtBystanders(world));
  }

  /** Does it once, without a fault. The first time has effects that no other has: it is not the one recorded. */
  async record(operation: Operation): Promise<Effects> {
    for (let time = 1;; time++) {
      await this.#settle(operation);
      await this.remember(operation.before);
      await this.world.arm({ kind: "none" });
      await operation.act(this.world);
      const { counts } = await this.world.report();
      const problems = await findProblems(this.world, this.#bystanders);
      if (problems.length > 0) throw new Error(`${operation.name} without a fault: ${problems.join("; ")}`);
      await operation.cleanUp?.(this.world);
      if (time === 2) return counts;
    }
  }

  async run(operation: Operation, plan: Round["plan"]): Promise<RoundResult> {
    const { world } = this;
    await this.#settle(operation);
    let outcome = "not done";
    let hasFired: boolean;
    const problems: string[] = [];
    if (operation.startsDaemon) {
      await operation.act(world);
      await world.kill();
      const started = await world.start(plan);
      // A daemon that cannot start says so and changes nothing; the next one is the one that is looked at.
      hasFired = started === undefined || await world.hasEndedWithin(LATE_MS) || await this.#hasFired();
      outcome = started === undefined ? "the daemon ended" : "the daemon started";
    } else {
      await world.arm(plan);
      outcome = await outcomeOf(operation.act(world));
      if (plan.kind === "kill") {
        hasFired = await world.hasEndedWithin(LATE_MS);
      } else {
        hasFired = (await world.report()).hasFired;
        problems.push(...await this.#afterwards(operation, outcome, "at once"));
      }
    }
    await world.kill();
    const started = await world.start();
    if (started === undefined) problems.push("the daemon does not start any more");
    else {
      if (started.ownMs > RECONCILE_MS) {
        problems.push(`the daemon took ${Math.round(started.ownMs)} ms to start`);
      }
      problems.push(...await this.#afterwards(operation, outcome, "after a restart"));
      await operation.cleanUp?.(world);
      problems.push(...await this.#leftovers(operation));
    }
    const round = { operation: operation.name, plan };
    return { round, hasFired, outcome, reconcileMs: started?.ownMs, problems };
  }

  /** Of a daemon that may end while it is asked, since its plan has a delay. */
  async #hasFired(): Promise<boolean> {
    try {
      return (await this.world.report()).hasFired;
    } catch (thrown) {
      if (await this.world.hasEndedWithin(LATE_MS)) return true;
      throw thrown;
    }
  }

  async #afterwards(operation: Operation, outcome: string, when: string): Promise<string[]> {
    const isDone = outcome === "done";
    const state = await victimState(this.world);
    const allowed: readonly string[] = isDone ? operation.done : operation.else;
    const problems = allowed.includes(state)
      ? []
      : [`the VM is ${state}, though ${operation.name} was ${isDone ? "done" : `not done (${outcome})`}`];
    problems.push(...await findProblems(this.world, this.#bystanders));
    problems.push(...await operation.problems?.(this.world, isDone) ?? []);
    return problems.map((problem) => `${when}: ${problem}`);
  }

  async #settle(operation: Operation): Promise<void> {
    await this.world.arm({ kind: "none" });
    await ensureVictim(this.world, operation.before);
  }

  /** Takes the files of now as those of that state, unless they are known. */
  async remember(state: VictimState): Promise<void> {
    if (!this.#inventories.has(state)) this.#inventories.set(state, await inventory(this.world));
  }

  /** Files that are there now and were not, in the same state, before any fault; and the other way round. */
  async #leftovers(operation: Operation): Promise<string[]> {
    await this.#settle(operation);
    const before = this.#inventories.get(operation.before);
    if (!before) return [];
    const now = await inventory(this.world);
    return [
      ...now.filter((path) => !before.includes(path)).map((path) => `left behind: ${path}`),
      ...before.filter((path) => !now.includes(path)).map((path) => `lost: ${path}`),
    ];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.world[Symbol.asyncDispose]();
  }
}

/** Points at which to kill: all effects that change something. */
export function killPoints(effects: Effects): string[] {
  return Object.keys(effects).filter((name) => !LOOKS.some((look) => name.startsWith(look)));
}

/** @param round from 0: each kills at another moment of the point, or the same one with other timing */
export function killPlan(
  effects: Effects,
  point: string,
  round: number,
  random: () => number,
): Round["plan"] {
  const occurrence = 1 + Math.floor(random() * effects[point]!);
  const moments = [
    { when: "before" },
    { when: "after" },
    { when: "middle" },
    { when: "after", delayMs: 1 + Math.floor(random() * 20) },
    { when: "after", delayMs: 1 + Math.floor(random() * 200) },
  ] as const;
  return { kind: "kill", point, occurrence, ...moments[round % moments.length]! };
}

/** Every way in which an effect can fail, once. */
export function failPlans(effects: Effects): Round["plan"][] {
  return Object.keys(effects).flatMap((point) => {
    const isProcess = /^(run|start) /.test(point);
    return [...FAULT_ERRORS, ...(isProcess ? ["exits" as const] : [])].map((error) => ({
      kind: "fail" as const,
      point,
      occurrence: 1,
      error,
    }));
  });
}

/** Numbers in [0, 1) that a seed decides. Source: mulberry32, Tommy Ettinger, public domain */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
