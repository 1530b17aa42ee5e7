/** Faults while a daemon starts after another was killed: what repairs must itself survive being cut off. */
import type { Operation } from "./operations.ts";
import { ensureVictim } from "./operations.ts";
import type { Arena, Effects } from "./rounds.ts";

/** A daemon that is killed half-way through a start of a VM, and the next one's start. */
export const RESTART: Operation = {
  name: "restart",
  before: "stopped",
  startsDaemon: true,
  async act(world) {
    // Something to do: a VM that is half started, and what a cut-off write leaves.
    await world.arm({ kind: "kill", point: "start qemu-system-x86_64", occurrence: 1, when: "after" });
    await world.finish(world.client.v1.vms[":name"].start.$post({ param: { name: "victim" } })).catch(
      () => {},
    );
    if (!(await world.hasEndedWithin(5000))) {
      throw new Error("the daemon was not killed in its start of a VM");
    }
    await Deno.writeTextFile(`${world.paths.stateDirectory}/cut-off.0badcafe.tmp`, "half");
    await Deno.mkdir(`${world.paths.imagesDirectory}/.staging-0123456789ab`, { recursive: true });
  },
  done: ["stopped"],
  else: ["stopped"],
};

export async function restartEffects(arena: Arena): Promise<Effects> {
  const { world } = arena;
  await ensureVictim(world, RESTART.before);
  await arena.remember(RESTART.before);
  await RESTART.act(world);
  await world.kill();
  await world.start();
  const { counts } = await world.report();
  return counts;
}
