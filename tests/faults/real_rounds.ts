/**
 * Rounds with the real QEMU: a guest writes to both of its disks, syncs, and says on its console what it has synced.
 * Then the daemon, the machine or both are killed, and the next boot says what it finds.
 */
import { reasonOf } from "../../lib/base/errors.ts";
import { vmPaths } from "../../lib/store/paths.ts";
import { makeTar } from "../smoke/small_images.ts";
import { killPlan, RECONCILE_MS } from "./rounds.ts";
import { IMAGE, KERNEL, VICTIM } from "./names.ts";
import { listVms, settledVms, victimOf } from "./checks.ts";
import { outcomeOf } from "./operations.ts";
import { host, World } from "./world.ts";

const WAIT_MS = 180_000;

export interface RealRounds {
  isWanted(scenario: string, round: number): boolean;
  /** @param problem what was lost */
  done(scenario: string, round: number, problem: string | undefined): Promise<void>;
}

const SCENARIOS = {
  "the daemon is killed while the guest writes": (world) => world.kill(),
  "the machine is killed while the guest writes": async (world) => await killProcesses(world, /qemu-system/),
  "everything is killed while the guest writes": async (world) => {
    await world.kill();
    await killProcesses(world, /./);
  },
  "the daemon is killed in a stop": async (world, random) => {
    await killIn(
      world,
      STOP_POINTS,
      random,
      () =>
        world.finish(
          world.client.v1.vms[":name"].stop.$post({ param: { name: VICTIM }, json: { force: false } }),
        ),
    );
  },
  "the daemon is killed in a start": async (world, random) => {
    await world.finish(
      world.client.v1.vms[":name"].stop.$post({ param: { name: VICTIM }, json: { force: false } }),
    );
    await killIn(
      world,
      START_POINTS,
      random,
      () => world.finish(world.client.v1.vms[":name"].start.$post({ param: { name: VICTIM } })),
    );
  },
} as const satisfies Record<string, (world: World, random: () => number) => Promise<void>>;

const STOP_POINTS = [
  "connect to /run/banger/vms/ID/agent.sock",
  "SIGKILL qemu-system-x86_64",
  "SIGTERM bangerd",
  "remove /run/banger/vms/ID",
];
const START_POINTS = [
  "write /.local/state/banger/vms/ID/config.tar",
  "make directory /run/banger/vms/ID",
  "start bangerd",
  "start qemu-system-x86_64",
  "connect to /run/banger/vms/ID/agent.sock",
  "write /.local/state/banger/vms/ID/vm.json",
];

async function killIn(
  world: World,
  points: readonly string[],
  random: () => number,
  act: () => Promise<void>,
): Promise<void> {
  const point = points[Math.floor(random() * points.length)]!;
  await world.arm(killPlan({ [point]: 1 }, point, Math.floor(random() * 5), random));
  await outcomeOf(act());
  await world.hasEndedWithin(300);
  await world.kill();
}

async function killProcesses(world: World, which: RegExp): Promise<void> {
  for (const { pid, commandLine } of await world.processes()) {
    const identity = which.test(commandLine) ? await host.processes.identify(pid) : undefined;
    if (!identity) continue;
    await host.processes.signal(identity, "SIGKILL");
    await host.processes.waitForExit(identity, 5000);
  }
}

/** @param rounds of each scenario */
export async function realRounds(
  rounds: number,
  random: () => number,
  { isWanted, done }: RealRounds,
): Promise<void> {
  await using world = await World.open("real");
  await world.start();
  const tar = await makeTar(world.home, "base", { "etc/hostname": "base\n" });
  await world.finish(world.client.v1.images.pull.$post(
    {
      json: { image: `tar:${tar}`, name: IMAGE },
    } as Parameters<typeof world.client.v1.images.pull.$post>[0],
  ));
  await world.finish(world.client.v1.vms.$post({
    json: {
      name: VICTIM,
      image: IMAGE,
      kernel: KERNEL,
      cpus: 1,
      memoryMib: 192,
      workDiskBytes: 64 * 2 ** 20,
    },
  }));
  for (let round = 0; round < rounds; round++) {
    for (const [name, fault] of Object.entries(SCENARIOS)) {
      if (!isWanted(name, round)) continue;
      const problem = await runRound(world, fault, random).catch((thrown) => `it broke: ${reasonOf(thrown)}`);
      await done(name, round, problem);
    }
  }
}

/** @returns what was lost */
async function runRound(
  world: World,
  fault: (world: World, random: () => number) => Promise<void>,
  random: () => number,
): Promise<string | undefined> {
  const victim = victimOf(await settledVms(world))!;
  if (victim.state === "stopped") {
    await world.finish(world.client.v1.vms[":name"].start.$post({ param: { name: VICTIM } }));
  }
  const { consoleLog } = vmPaths(world.paths, victim.id);
  const first = await untilConsole(consoleLog, /synced: (\d+)/g);
  await host.clock.sleep(random() * 1000);
  const pid = victimOf(await listVms(world))!.vmm?.pid;
  const synced = Math.max(first, await untilConsole(consoleLog, /synced: (\d+)/g));
  await fault(world, random);
  await world.kill();
  const started = await world.start();
  if (started === undefined || started.ownMs > RECONCILE_MS) return `the daemon took ${started?.ownMs} ms`;
  const after = victimOf(await settledVms(world));
  if (!after || (after.state !== "running" && after.state !== "stopped")) return `the VM is ${after?.state}`;
  if (after.state === "running" && after.vmm?.pid === pid) {
    const now = await untilConsole(consoleLog, /synced: (\d+)/g, synced + 1);
    return now > synced ? undefined : `the guest stands still at ${now}`;
  }
  if (after.state === "stopped") {
    await world.finish(world.client.v1.vms[":name"].start.$post({ param: { name: VICTIM } }));
  }
  const foundRoot = await untilConsole(consoleLog, /found: (\d+) \d+/g);
  const foundWork = await untilConsole(consoleLog, /found: \d+ (\d+)/g);
  if (foundRoot >= synced && foundWork >= synced) return undefined;
  return `${synced} was synced, and ${foundRoot} is on the root disk, ${foundWork} on the work disk`;
}

/** @returns the last number that the console has, once it has one that is large enough */
async function untilConsole(path: string, pattern: RegExp, atLeast = 0): Promise<number> {
  for (const deadlineMs = performance.now() + WAIT_MS;;) {
    const text = await Deno.readTextFile(path).catch(() => "");
    const last = [...text.matchAll(pattern)].at(-1)?.[1];
    if (last !== undefined && Number(last) >= atLeast) return Number(last);
    if (performance.now() > deadlineMs) throw new Error(`${pattern} did not come: ${text.slice(-300)}`);
    await host.clock.sleep(20);
  }
}
