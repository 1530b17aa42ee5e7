import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import type { VmId } from "../../../lib/base/names.ts";
import { Stalls } from "../../../lib/vm/stalls.ts";
import type { DriverName, Machine, MachineStatus } from "../../../lib/vmm/driver.ts";

const ID = "0123456789ab" as VmId;
const MIB = 1024 * 1024;

/** A machine on a host whose disk and clock the test moves. */
class World {
  freeBytes = 1000 * MIB;
  nowMs = 0;
  status: MachineStatus = "running";
  reserve: number | BangerError = 256 * MIB;
  readonly asked: string[] = [];
  readonly events: string[] = [];
  eventsFail = false;
  readonly stalls: Stalls;
  readonly machine: Machine;

  constructor(driver: DriverName) {
    const files = { freeBytes: () => Promise.resolve(this.freeBytes) };
    const clock = { now: () => this.nowMs, monotonicMs: () => this.nowMs };
    this.machine = {
      record: { driver },
      status: () => {
        this.asked.push("status");
        return Promise.resolve(this.status);
      },
      pause: () => Promise.resolve(void this.asked.push("pause")),
      resume: () => Promise.resolve(void this.asked.push("resume")),
    } as unknown as Machine;
    this.stalls = new Stalls(
      {
        host: { files, clock, log: () => {} },
        paths: { vmsDirectory: "/v", runtimeDirectory: "/r" },
        events: {
          add: (_path: string, event: string, detail: string) => {
            if (this.eventsFail) return Promise.reject(new BangerError("no_space", "full"));
            this.events.push(`${event}: ${detail}`);
            return Promise.resolve();
          },
        },
        settings: () =>
          typeof this.reserve === "number"
            ? Promise.resolve({ reserveBytes: this.reserve, fileSync: [] })
            : Promise.reject(this.reserve),
      } as unknown as ConstructorParameters<typeof Stalls>[0],
    );
  }

  /** Looks `times` times, half a second apart. @returns what the machine was asked */
  async look(times = 1): Promise<string[]> {
    this.asked.length = 0;
    for (let time = 0; time < times; time++) {
      await this.stalls.look(ID, this.machine);
      this.nowMs += 500;
    }
    return [...this.asked];
  }
}

Deno.test("Stalls asks a machine rarely while there is room, and at once when there is little", async () => {
  const world = new World("qemu");
  assert.deepEqual(await world.look(10), ["status"]);
  world.freeBytes = 10 * MIB;
  assert.deepEqual(await world.look(3), ["status", "status", "status"]);
  assert.equal(world.stalls.get(ID), undefined);
});

Deno.test("Stalls tells of a machine that met a full disk, and lets it go on when there is room", async () => {
  const world = new World("qemu");
  world.freeBytes = 0;
  world.status = "out-of-space";
  await world.look();
  assert.match(world.stalls.get(ID)!.reason, /disk is full/);
  assert.deepEqual(await world.look(3), [], "nothing to ask for until there is room");
  await assert.rejects(
    world.stalls.requireMoving(ID, "web", world.machine),
    (thrown) =>
      thrown instanceof BangerError && thrown.code === "no_space" && /stands still/.test(thrown.message),
  );
  world.freeBytes = 255 * MIB;
  assert.deepEqual(await world.look(), [], "less than the reserve");
  world.freeBytes = 256 * MIB;
  world.status = "running";
  assert.deepEqual(await world.look(), ["resume"]);
  assert.equal(world.stalls.get(ID), undefined);
  assert.deepEqual(world.events, [
    "paused: the host's disk is full",
    "resumed: 256 MiB are free on the host's disk",
  ]);
});

Deno.test("Stalls tries a machine that stalls again and again only now and then", async () => {
  const world = new World("qemu");
  world.status = "io-error";
  const asked = await world.look(120); // a minute
  assert.ok(asked.filter((one) => one === "resume").length <= 7, asked.join(" "));
  assert.ok(asked.includes("resume"));
});

Deno.test("Stalls pauses a Firecracker machine before its disk is full", async () => {
  const world = new World("firecracker");
  assert.deepEqual(await world.look(3), ["status"]);
  world.freeBytes = 200 * MIB;
  assert.deepEqual(await world.look(), []);
  world.freeBytes = 127 * MIB;
  assert.deepEqual(await world.look(2), ["pause"]);
  assert.match(world.stalls.get(ID)!.reason, /almost full/);
  world.freeBytes = 300 * MIB;
  assert.deepEqual(await world.look(), ["resume"]);
});

Deno.test("Stalls lets a Firecracker machine go on that an earlier daemon paused", async () => {
  const world = new World("firecracker");
  world.status = "paused";
  assert.deepEqual(await world.look(2), ["status", "resume"]);
  world.status = "running";
  assert.deepEqual(await world.look(20), ["status", "status"]);
});

Deno.test("Stalls goes on with the last reserve where the configuration cannot be read", async () => {
  const world = new World("qemu");
  await world.look();
  world.reserve = new BangerError("invalid_argument", "no TOML");
  world.freeBytes = 100 * MIB;
  world.nowMs += 60_000;
  assert.deepEqual(await world.look(2), ["status", "status"]);
});

Deno.test("Stalls does not need the full disk to tell what is wrong", async () => {
  const world = new World("qemu");
  world.freeBytes = 0;
  world.status = "out-of-space";
  world.eventsFail = true;
  await world.look();
  assert.match(world.stalls.get(ID)!.reason, /disk is full/);
});

Deno.test("Stalls begins anew with another machine of the same VM", async () => {
  const world = new World("qemu");
  world.freeBytes = 0;
  world.status = "out-of-space";
  await world.look();
  world.stalls.forget(ID);
  assert.equal(world.stalls.get(ID), undefined);
});
