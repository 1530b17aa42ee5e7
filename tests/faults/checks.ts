/** What must hold of a home whenever no operation is under way, whatever happened before. */
import { createHash } from "node:crypto";
import type { VmView } from "../../lib/api/contract.ts";
import { isTemporaryName } from "../../lib/base/temporary_names.ts";
import { networkFiles, vmPaths } from "../../lib/store/paths.ts";
import { runtimeSockets } from "../../lib/vmm/driver.ts";
import { readVmRecord } from "../../lib/vm/record_file.ts";
import type { VmId } from "../../lib/base/names.ts";
import { BUSY, CALM, VICTIM } from "./names.ts";
import { host, type World } from "./world.ts";

/** Patience costs nothing where nothing is wrong, and a machine may be busy. */
const SETTLE_MS = 60_000;
/** More than the daemon's own time between two tries. */
const RETRY_MS = 30_000;
/** Of a machine that runs: what must be there, and what may. */
const SOCKETS = ["agent.sock", "console.sock", "qmp.sock", "serial.sock"];
const MORE_SOCKETS = Object.values({ ...runtimeSockets(""), ...networkFiles("") }).map((path) =>
  path.slice(1)
);
const BUSY_STATES = ["creating", "starting", "stopping", "removing"];

/** How the two VMs are that nobody touches. */
export interface Bystanders {
  readonly busyPid: number;
  readonly calmDisks: Disks;
}

interface Disks {
  /** Which files they are, and when they last changed: nobody can write to one and leave that as it was. */
  readonly identity: string;
  readonly digest: string;
}

export async function listVms(world: World): Promise<VmView[]> {
  return await (await world.client.v1.vms.$get({ query: {} })).json();
}

/** @returns the VMs once none is on its way any more, or as they are after a while */
export async function settledVms(world: World): Promise<VmView[]> {
  for (const deadlineMs = performance.now() + SETTLE_MS;;) {
    const vms = await listVms(world);
    if (!vms.some(({ state }) => BUSY_STATES.includes(state)) || performance.now() > deadlineMs) return vms;
    await host.clock.sleep(20);
  }
}

export async function lookAtBystanders(world: World): Promise<Bystanders> {
  const vms = await listVms(world);
  const find = (name: string) => vms.find((vm) => vm.name === name)!;
  return { busyPid: find(BUSY).vmm!.pid, calmDisks: await lookAtDisks(world, find(CALM).id) };
}

/** @param known reading them is most of a round's work */
async function lookAtDisks(world: World, id: string, known?: Disks): Promise<Disks> {
  const { directory, workDisk } = vmPaths(world.paths, id);
  const paths = [`${directory}/root.qcow2`, workDisk];
  const stats = await Promise.all(paths.map((path) => Deno.stat(path)));
  const identity = JSON.stringify(stats.map(({ ino, size, mtime, ctime }) => [ino, size, mtime, ctime]));
  if (known?.identity === identity) return known;
  const digest = createHash("sha256");
  for (const path of paths) digest.update(await Deno.readFile(path));
  return { identity, digest: digest.digest("hex") };
}

/**
 * What failed for want of something is tried again within seconds: a problem is one that lasts.
 *
 * @returns what is wrong, one line each
 */
export async function findProblems(world: World, bystanders: Bystanders): Promise<string[]> {
  for (const deadlineMs = performance.now() + RETRY_MS;;) {
    const problems = await lookForProblems(world, bystanders);
    if (problems.length === 0 || performance.now() > deadlineMs) return problems;
    await host.clock.sleep(200);
  }
}

async function lookForProblems(world: World, bystanders: Bystanders): Promise<string[]> {
  const vms = await settledVms(world);
  const problems = vms.filter(({ state }) => state !== "stopped" && state !== "running")
    .map(({ name, state, brokenReason }) => `VM ${name} is ${state}: ${brokenReason ?? "for too long"}`);
  problems.push(...await bystanderProblems(world, vms, bystanders));
  problems.push(...await processProblems(world, vms));
  problems.push(...await runtimeProblems(world, vms));
  problems.push(...await stateProblems(world, vms));
  problems.push(...await lockProblems(world));
  return problems;
}

async function bystanderProblems(
  world: World,
  vms: readonly VmView[],
  before: Bystanders,
): Promise<string[]> {
  const busy = vms.find(({ name }) => name === BUSY);
  const calm = vms.find(({ name }) => name === CALM);
  if (!busy || !calm) return ["a VM that nobody touched is gone"];
  const problems: string[] = [];
  if (busy.vmm?.pid !== before.busyPid) problems.push(`the running VM is ${busy.state}, of ${busy.vmm?.pid}`);
  if (calm.state !== "stopped") problems.push(`the resting VM is ${calm.state}`);
  if ((await lookAtDisks(world, calm.id, before.calmDisks)).digest !== before.calmDisks.digest) {
    problems.push("the resting VM's disks changed");
  }
  return problems;
}

/** A relay and a VMM for each that runs, and nothing else. */
async function processProblems(world: World, vms: readonly VmView[]): Promise<string[]> {
  const problems: string[] = [];
  const running = vms.filter(({ state }) => state === "running");
  // A process that was told to end takes a moment.
  for (let patience = 50; patience >= 0; patience--) {
    problems.length = 0;
    const left = await world.processes();
    for (const { id, name, vmm } of running) {
      const own = left.filter(({ commandLine }) => commandLine.includes(vmPaths(world.paths, id).runtime));
      const isWhole = own.some(({ pid }) => pid === vmm?.pid) &&
        own.some(({ commandLine }) => commandLine.includes(" relay "));
      if (!isWhole) problems.push(`VM ${name} runs without its VMM or relay: ${own.map(({ pid }) => pid)}`);
      const more = own.filter(({ commandLine }) => !commandLine.includes(" agent ")).length - 2;
      if (more > 0) problems.push(`VM ${name} has ${more} processes too many`);
      for (const one of own) left.splice(left.indexOf(one), 1);
    }
    problems.push(...left.map(({ pid, commandLine }) => `orphan ${pid}: ${commandLine.slice(0, 160)}`));
    if (problems.length === 0) break;
    await host.clock.sleep(20);
  }
  return problems;
}

async function runtimeProblems(world: World, vms: readonly VmView[]): Promise<string[]> {
  const { runtimeDirectory } = world.paths;
  const running = vms.filter(({ state }) => state === "running").map(({ id }) => id);
  const found = await host.files.list(`${runtimeDirectory}/vms`);
  const problems = found.filter((id) => !running.includes(id)).map((id) => `sockets of ${id} are left`);
  for (const id of running) {
    const sockets = await host.files.list(`${runtimeDirectory}/vms/${id}`);
    const isWhole = SOCKETS.every((name) => sockets.includes(name));
    const isMore = sockets.some((name) => !SOCKETS.includes(name) && !MORE_SOCKETS.includes(name));
    if (!isWhole || isMore) problems.push(`the sockets of ${id} are ${sockets}`);
  }
  const others = (await host.files.list(runtimeDirectory))
    .filter((name) => !["daemon.lock", "daemon.sock", "vms"].includes(name));
  return [...problems, ...others.map((name) => `${name} is left in the runtime directory`)];
}

async function stateProblems(world: World, vms: readonly VmView[]): Promise<string[]> {
  const { vmsDirectory, imagesDirectory, kernelsDirectory } = world.paths;
  const images = await (await world.client.v1.images.$get()).json();
  const problems: string[] = [];
  const compare = (what: string, found: readonly string[], wanted: readonly string[]) => {
    for (const name of found) if (!wanted.includes(name)) problems.push(`${what} ${name} has no owner`);
    for (const name of wanted) if (!found.includes(name)) problems.push(`${what} ${name} is gone`);
  };
  const removed = await (await world.client.v1.vms.$get({ query: { scope: "removed" } })).json();
  compare("VM directory", await host.files.list(vmsDirectory), [...vms, ...removed].map(({ id }) => id));
  compare("image directory", await host.files.list(imagesDirectory), images.map(({ id }) => id));
  for (const name of await host.files.list(kernelsDirectory)) {
    if (/^\.(staging|replaced)/.test(name)) problems.push(`kernel directory ${name} has no owner`);
  }
  for await (const path of filesBelow(world.home)) {
    if (isTemporaryName(path)) problems.push(`temporary file ${path} is left`);
    if (/\/ingest\/.+/.test(path)) {
      const lock = await Deno.stat(`${path.replace(/(ingest\/[^/]+?)(\.lock)?(\/.*)?$/, "$1")}.lock`).catch(
        () => null,
      );
      if (!lock || await isFree(`${path.replace(/(ingest\/[^/]+?)(\.lock)?(\/.*)?$/, "$1")}.lock`)) {
        problems.push(`a download's staging ${path} is left`);
      }
    }
  }
  for (const { id, name, state } of vms) {
    if (state !== "stopped" && state !== "running") continue;
    const kept = await readVmRecord(host.files, vmPaths(world.paths, id).record, id as VmId).catch((thrown) =>
      thrown
    );
    if (kept instanceof Error) problems.push(`the record beside VM ${name}'s disks: ${kept.message}`);
    else if (kept.state !== state) {
      problems.push(`the record beside VM ${name}'s disks says ${kept.state}, not ${state}`);
    }
  }
  return problems;
}

async function lockProblems({ paths }: World): Promise<string[]> {
  const problems: string[] = [];
  for (const name of await host.files.list(paths.kernelsDirectory)) {
    if (!name.endsWith(".lock")) continue;
    if (!(await isFree(`${paths.kernelsDirectory}/${name}`))) problems.push(`lock ${name} is held`);
  }
  const index = `${paths.contentDirectory}/index.lock`;
  if (await host.files.stat(index) && !(await isFree(index))) {
    problems.push("the content store's lock is held");
  }
  return problems;
}

async function isFree(path: string): Promise<boolean> {
  const lock = await host.files.tryLock(path);
  await lock?.[Symbol.asyncDispose]();
  return lock !== undefined;
}

export async function* filesBelow(directory: string): AsyncGenerator<string> {
  for (const name of await host.files.list(directory)) {
    const path = `${directory}/${name}`;
    if ((await host.files.stat(path))?.kind === "directory") yield* filesBelow(path);
    else yield path;
  }
}

/** Files of a home by what they are, for comparing two moments: without ids, logs, and what comes and goes by itself. */
export async function inventory(world: World): Promise<string[]> {
  const vms = await listVms(world);
  const nameOf = new Map(vms.map(({ id, name }) => [id, name]));
  const found: string[] = [];
  for await (const path of filesBelow(world.home)) {
    const shown = path.slice(world.home.length)
      .replaceAll(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, "UUID")
      .replaceAll(/[0-9a-f]{12}/g, (id) => nameOf.get(id) ?? (shorter(path) ? "ID" : id));
    if (/\.log(\.1)?$|state\.db-(wal|shm)$|\/ingest\/|\/config\.tar$|\/index\.lock$/.test(shown)) continue;
    found.push(shown);
  }
  return [...new Set(found)].sort();
}

/** Digests of the content store stay as they are. */
function shorter(path: string): boolean {
  return !path.includes("/oci/");
}

export function victimOf(vms: readonly VmView[]): VmView | undefined {
  return vms.find(({ name }) => name === VICTIM);
}
