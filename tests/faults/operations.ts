/** What is interrupted: one operation of the daemon each, with the state that it needs and what may come of it. */
import { BangerError } from "../../lib/base/errors.ts";
import { makeTar } from "../smoke/small_images.ts";
import { listVms, settledVms, victimOf } from "./checks.ts";
import { makeLayoutArchive } from "./layout.ts";
import { BUSY, CALM, IMAGE, KERNEL, OTHER_KERNEL, VICTIM } from "./names.ts";
import type { World } from "./world.ts";

const WORK_DISK_BYTES = 64 * 2 ** 20;
const PULLED = "pulled";
/** What no log may hold. */
export const SECRET = "canary-7d1f";

export type VictimState = "absent" | "stopped" | "running";

export interface Operation {
  readonly name: string;
  /** How the victim is before. */
  readonly before: VictimState;
  /** `act` only kills the daemon: the fault comes in the start of the next one. */
  readonly startsDaemon?: boolean;
  /** Resolves once the daemon has said that it is done. */
  act(world: World): Promise<void>;
  /** How the victim may be afterwards: where it was said to be done, and where it was not. */
  readonly done: readonly VictimState[];
  readonly else: readonly VictimState[];
  /** What else is wrong afterwards. */
  problems?(world: World, isDone: boolean): Promise<string[]>;
  /** Back to what was before, as to anything but the victim. */
  cleanUp?(world: World): Promise<void>;
}

const create = (world: World, name: string, start: boolean) =>
  world.finish(world.client.v1.vms.$post({
    json: {
      name,
      image: IMAGE,
      kernel: KERNEL,
      cpus: 1,
      memoryMib: 192,
      workDiskBytes: WORK_DISK_BYTES,
      environment: { CANARY: SECRET },
      start,
    },
  }));
const start = (world: World, name: string) =>
  world.finish(world.client.v1.vms[":name"].start.$post({ param: { name } }));
const stop = (world: World, name: string, force = false) =>
  world.finish(world.client.v1.vms[":name"].stop.$post({ param: { name }, json: { force } }));
const remove = (world: World, name: string, purge = true) =>
  world.finish(world.client.v1.vms[":name"].remove.$post({ param: { name }, json: { force: true, purge } }));

export const OPERATIONS: readonly Operation[] = [
  {
    name: "create",
    before: "absent",
    act: (world) => create(world, VICTIM, true),
    done: ["running"],
    // The last effect may be done and its news not heard.
    else: ["absent", "running"],
  },
  {
    name: "start",
    before: "stopped",
    act: (world) => start(world, VICTIM),
    done: ["running"],
    else: ["stopped", "running"],
  },
  {
    name: "stop",
    before: "running",
    act: (world) => stop(world, VICTIM),
    done: ["stopped"],
    else: ["stopped", "running"],
  },
  {
    name: "rm",
    before: "stopped",
    act: (world) => remove(world, VICTIM),
    done: ["absent"],
    else: ["absent", "stopped"],
  },
  {
    name: "set",
    before: "stopped",
    act: (world) =>
      world.finish(world.client.v1.vms[":name"].set.$post({
        param: { name: VICTIM },
        json: { memoryMib: 256, kernel: OTHER_KERNEL, workDiskBytes: 2 * WORK_DISK_BYTES },
      })),
    done: ["stopped"],
    else: ["stopped"],
    async problems(world, isDone) {
      const vm = victimOf(await listVms(world));
      const isSet = vm?.memoryMib === 256 && vm.kernel === OTHER_KERNEL &&
        vm.workDiskBytes === 2 * WORK_DISK_BYTES;
      const isUnset = vm?.memoryMib === 192 && vm.kernel === KERNEL && vm.workDiskBytes === WORK_DISK_BYTES;
      return isSet || (isUnset && !isDone)
        ? []
        : [`the settings are ${vm?.memoryMib}, ${vm?.kernel} and ${vm?.workDiskBytes}`];
    },
    // A disk does not shrink again: the next round has another VM.
    cleanUp: (world) => ensureVictim(world, "absent"),
  },
  {
    name: "trash",
    before: "stopped",
    act: (world) => remove(world, VICTIM, false),
    done: ["absent"],
    else: ["absent", "stopped"],
    async problems(world) {
      // In the trash or not: never less than whole.
      const kept = await (await world.client.v1.vms.$get({ query: { scope: "removed" } })).json();
      const isThere = victimOf(await listVms(world)) !== undefined;
      return kept.length + Number(isThere) === 1 ? [] : [`the trash holds ${kept.length}`];
    },
    async cleanUp(world) {
      await world.client.v1.vms.prune.$post({ json: {} });
      // Its inventory has no trash.
      await ensureVictim(world, "absent");
    },
  },
  {
    name: "pull",
    before: "absent",
    act: (world) =>
      world.finish(world.client.v1.images.pull.$post(
        {
          json: { image: `oci-archive:${world.home}/pulled.oci.tar`, name: PULLED },
        } as Parameters<typeof world.client.v1.images.pull.$post>[0],
      )),
    done: ["absent"],
    else: ["absent"],
    async problems(world, isDone) {
      const images = await (await world.client.v1.images.$get()).json();
      const isThere = images.some(({ name }) => name === PULLED);
      return isDone && !isThere ? ["an image that was said to be pulled is gone"] : [];
    },
    async cleanUp(world) {
      const images = await (await world.client.v1.images.$get()).json();
      if (images.some(({ name }) => name === PULLED)) {
        await world.client.v1.images[":name"].$delete({ param: { name: PULLED } });
      }
      await world.client.v1.images.prune.$post({ json: { all: true } });
    },
  },
];

/** Makes what every round begins with: an image, a VM that rests, one that runs. */
export async function prepareWorld(world: World): Promise<void> {
  const tar = await makeTar(world.home, "base", {
    "etc/hostname": "base\n",
    "root/seed": "from the image\n",
  });
  await makeLayoutArchive(
    world.home,
    "pulled",
    await makeTar(world.home, "layer", { "etc/hostname": "pulled\n" }),
  );
  await world.finish(world.client.v1.images.pull.$post(
    {
      json: { image: `tar:${tar}`, name: IMAGE },
    } as Parameters<typeof world.client.v1.images.pull.$post>[0],
  ));
  await create(world, CALM, false);
  await create(world, BUSY, true);
}

export async function victimState(world: World): Promise<string> {
  return victimOf(await settledVms(world))?.state ?? "absent";
}

/** Brings the victim into a state, by the fewest commands. */
export async function ensureVictim(world: World, wanted: VictimState): Promise<void> {
  const now = victimOf(await listVms(world))?.state ?? "absent";
  if (now === wanted) return;
  if (wanted === "absent") return await remove(world, VICTIM);
  if (now === "absent") return await create(world, VICTIM, wanted === "running");
  await (wanted === "running" ? start(world, VICTIM) : stop(world, VICTIM, true));
}

/** `done`; the code of the failure that was told; `cut off` where the daemon ended before it told anything. */
export async function outcomeOf(acting: Promise<void>): Promise<string> {
  try {
    await acting;
    return "done";
  } catch (thrown) {
    if (!(thrown instanceof BangerError)) throw thrown;
    const isCut = ["daemon_unavailable", "connection_failed", "not_found"].includes(thrown.code);
    return isCut && thrown.code !== "not_found" ? "cut off" : thrown.code;
  }
}
