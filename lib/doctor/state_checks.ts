import { reasonOf } from "../base/errors.ts";
import { preparePrivateDirectory } from "../base/private_directory.ts";
import { imageRootfs, vmPaths } from "../store/paths.ts";
import { inspectDatabase } from "../store/inspect.ts";
import type { Diagnosis, DoctorWorld } from "./diagnosis.ts";

const PROBE_BYTES = 4096;
const VM_ID = /^[0-9a-f]{12}$/;

/** What banger itself keeps on this host. */
export const STATE_CHECKS = {
  directories: checkDirectories,
  "copy-on-write": checkReflink,
  state: checkState,
} as const;

async function checkDirectories({ host, paths, uid }: DoctorWorld): Promise<Diagnosis[]> {
  const { files } = host;
  const check = "directories";
  try {
    await files.makeDirectory(paths.stateDirectory, 0o700);
    await files.makeDirectory(paths.cacheDirectory, 0o700);
    await preparePrivateDirectory(files, paths.runtimeDirectory, uid);
  } catch (thrown) {
    return [{
      check,
      severity: "error",
      found: reasonOf(thrown),
      meaning: "banger has no place for its files",
      remedy: "make it writable, or set XDG_STATE_HOME, XDG_CACHE_HOME and XDG_RUNTIME_DIR to other places",
    }];
  }
  return [{ check, severity: "ok", found: `state in ${paths.stateDirectory}` }];
}

/** Tried, not guessed from the filesystem's name. */
async function checkReflink({ host, paths }: DoctorWorld): Promise<Diagnosis[]> {
  const { files } = host;
  const probe = `${paths.stateDirectory}/.doctor-${crypto.randomUUID()}`;
  try {
    await files.makeDirectory(probe, 0o700);
    await files.writeAtomic(`${probe}/a`, new Uint8Array(PROBE_BYTES));
    const works = await files.reflink(`${probe}/a`, `${probe}/b`);
    return [{
      check: "copy-on-write",
      severity: "ok",
      found: works
        ? "the filesystem shares blocks (reflink)"
        : "no reflink here; disks of VMs are qcow2 overlays",
    }];
  } finally {
    await files.remove(probe);
  }
}

async function checkState(world: DoctorWorld): Promise<Diagnosis[]> {
  const { host, paths } = world;
  if (!(await host.files.stat(paths.database))) {
    return [{ check: "database", severity: "ok", found: "none yet" }];
  }
  await using lock = await host.files.tryLock(paths.daemonLock);
  if (!lock) {
    return [{
      check: "database",
      severity: "ok",
      found: "in use by the daemon, which checked it at its start",
    }];
  }
  const inspected = inspectDatabase(paths.database);
  if (inspected.kind === "unreadable") {
    return [{
      check: "database",
      severity: "error",
      found: `${paths.database}: ${inspected.reason}`,
      meaning: "the daemon cannot start with it; disks of VMs are not touched",
      remedy: "banger vm list says what it does about it; backups lie beside it",
    }];
  }
  return [
    {
      check: "database",
      severity: "ok",
      found: `sound; ${inspected.images.length} images, ${inspected.vms.length} VMs`,
    },
    ...await checkImages(world, inspected.images),
    ...await checkVms(world, inspected.vms),
    ...await checkLeftovers(world, new Set(inspected.vms.map(({ id }) => id))),
  ];
}

type Inspected = Extract<ReturnType<typeof inspectDatabase>, { kind: "sound" }>;

async function checkImages(
  { host, paths, buildId }: DoctorWorld,
  images: Inspected["images"],
): Promise<Diagnosis[]> {
  const diagnoses: Diagnosis[] = [];
  for (const image of images) {
    const rootfs = imageRootfs(paths, image);
    if (await host.files.stat(rootfs)) continue;
    diagnoses.push({
      check: "images",
      severity: "error",
      found: `image ${image.name}: its disk ${rootfs} is gone`,
      meaning: "no VM can be made from it, and VMs whose disks are overlays of it do not start",
      remedy: `banger image rm ${image.name}, then banger image pull ${image.source}`,
    });
  }
  const old = images.filter(({ agentBuild }) => agentBuild !== buildId).map(({ name }) => name);
  if (old.length > 0) {
    diagnoses.push({
      check: "agents",
      severity: "note",
      found: `of another build in ${old.join(", ")}`,
      meaning: "VMs made from them work; what is new in this build's agent is missing there",
      remedy: old.map((name) => `banger image rm ${name} && banger image pull ${name}`).join("; "),
    });
  }
  return diagnoses;
}

async function checkVms({ host, paths }: DoctorWorld, vms: Inspected["vms"]): Promise<Diagnosis[]> {
  const diagnoses: Diagnosis[] = [];
  for (const vm of vms) {
    if (vm.state === "creating" || vm.state === "removing") continue;
    const { directory, workDisk } = vmPaths(paths, vm.id);
    if (await host.files.stat(workDisk)) continue;
    diagnoses.push({
      check: "VMs",
      severity: "error",
      found: `VM ${vm.name}: its work disk ${workDisk} is gone`,
      meaning: "it does not start",
      remedy: `bring the disk back to ${directory}, or remove the VM: banger vm rm ${vm.name}`,
    });
  }
  return diagnoses;
}

/** What a killed daemon left: its next start cleans up. Disks without a row are never anybody's leftovers. */
async function checkLeftovers(world: DoctorWorld, known: ReadonlySet<string>): Promise<Diagnosis[]> {
  const { host: { files }, paths } = world;
  const diagnoses: Diagnosis[] = [];
  const staging: string[] = [];
  for (const directory of [paths.imagesDirectory, paths.kernelsDirectory]) {
    for (const name of await files.list(directory)) {
      if (name.startsWith(".staging-")) staging.push(`${directory}/${name}`);
    }
  }
  if (staging.length > 0) {
    diagnoses.push({
      check: "leftovers",
      severity: "note",
      found: `${staging.length} half-made of crashed runs: ${staging.join(", ")}`,
      meaning: "they take room and do no harm",
      remedy: "banger doctor --fix, or banger daemon start: both remove them",
      fix: "remove what crashed runs left half-made",
      repair: () => removeUnlessInUse(world, staging),
    });
  }
  const runtimes = `${paths.runtimeDirectory}/vms`;
  const strays = (await files.list(runtimes)).filter((id) => !known.has(id));
  if (strays.length > 0) {
    diagnoses.push({
      check: "leftovers",
      severity: "note",
      found: `sockets of VMs that are gone: ${strays.join(", ")}`,
      meaning: "their processes may still run",
      remedy: "banger daemon start, which ends and removes them",
    });
  }
  const strangers = (await files.list(paths.vmsDirectory)).filter((id) => VM_ID.test(id) && !known.has(id));
  if (strangers.length > 0) {
    diagnoses.push({
      check: "VMs",
      severity: "warning",
      found: `disks of VMs that the database does not know: ${strangers.join(", ")}`,
      meaning: `they are kept below ${paths.vmsDirectory}; nothing deletes them`,
      remedy: "banger daemon start takes them in where their records can be read",
    });
  }
  return diagnoses;
}

/** A daemon that started meanwhile has removed them, and makes new ones. */
async function removeUnlessInUse({ host, paths }: DoctorWorld, staging: readonly string[]): Promise<void> {
  await using lock = await host.files.tryLock(paths.daemonLock);
  if (!lock) return;
  for (const path of staging) await host.files.remove(path);
}
