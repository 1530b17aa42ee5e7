/**
 * Creates, runs a command in and removes VMs, over and over, and tells what the daemon holds: memory and descriptors
 * must stay flat.
 *
 * deno task soak [--cycles N] [--vmm stand-in|real]
 */
import { parseArgs } from "node:util";
import { AgentClient } from "../lib/guest/client/agent_client.ts";
import { makeTar } from "../tests/smoke/small_images.ts";
import { IMAGE, KERNEL } from "../tests/faults/names.ts";
import { host, type Report, type VmmKind, World } from "../tests/faults/world.ts";

const SAMPLES = 10;
/** Samples until the list of finished operations is full, code compiled, pools grown. */
const WARM = 5;

const { values } = parseArgs({
  args: Deno.args,
  options: { cycles: { type: "string", default: "200" }, vmm: { type: "string", default: "stand-in" } },
});
const cycles = Number(values.cycles);

async function cycle(world: World, name: string): Promise<void> {
  await world.finish(world.client.v1.vms.$post({
    json: { name, image: IMAGE, kernel: KERNEL, cpus: 1, memoryMib: 192, workDiskBytes: 64 * 2 ** 20 },
  }));
  const { agent } = await (await world.client.v1.vms[":name"].$get({ param: { name } })).json();
  const session = await new AgentClient(host, agent!).exec({ argv: ["true"], stdinClosed: true });
  const status = await session.finish({ stdout: () => Promise.resolve(), stderr: () => Promise.resolve() });
  if (!("code" in status) || status.code !== 0) {
    throw new Error(`the command ended with ${JSON.stringify(status)}`);
  }
  await world.finish(world.client.v1.vms[":name"].remove.$post({
    param: { name },
    json: { force: true, purge: true },
  }));
}

/** Its counts of effects begin anew, so that they do not look like growth of the daemon. */
async function lookAt(world: World): Promise<Report> {
  await world.arm({ kind: "none" });
  return await world.report();
}

function show(cycle: number, { rss, heapUsed, descriptors }: Report): void {
  const mib = (bytes: number) => (bytes / 2 ** 20).toFixed(1);
  console.log(
    `${cycle} cycles: ${mib(rss)} MiB resident, ${mib(heapUsed)} MiB heap, ${descriptors} descriptors`,
  );
}

/** @returns the exit code: whether it stayed flat. By then its daemon and home are gone. */
async function soak(): Promise<number> {
  await using world = await World.open(values.vmm as VmmKind);
  await world.start();
  const tar = await makeTar(world.home, "base", { "etc/hostname": "base\n" });
  await world.finish(world.client.v1.images.pull.$post(
    {
      json: { image: `tar:${tar}`, name: IMAGE },
    } as Parameters<typeof world.client.v1.images.pull.$post>[0],
  ));
  const samples: Report[] = [];
  const startedAtMs = performance.now();
  for (let done = 0; done <= cycles; done++) {
    if (done % Math.max(1, Math.floor(cycles / SAMPLES)) === 0) {
      samples.push(await lookAt(world));
      show(done, samples.at(-1)!);
    }
    if (done < cycles) await cycle(world, `soak-${done}`);
  }
  const warm = samples[WARM];
  const last = samples.at(-1)!;
  const growth = {
    heapKib: (last.heapUsed - warm!.heapUsed) / 1024,
    descriptors: last.descriptors - warm!.descriptors,
  };
  const each = growth.heapKib / (cycles * (1 - WARM / SAMPLES));
  console.log(
    `${cycles} cycles in ${
      ((performance.now() - startedAtMs) / 1000).toFixed(0)
    } s with the ${values.vmm} VMM: ` +
      `the heap grew by ${each.toFixed(2)} KiB a cycle, descriptors by ${growth.descriptors}`,
  );
  return growth.descriptors > 2 || each > 4 ? 1 : 0;
}

Deno.exit(await soak());
