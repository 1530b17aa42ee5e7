import { ARCHITECTURES } from "../base/architecture.ts";
import { formatBytes, GIB, MIB } from "../base/units.ts";
import { chooseAcceleration } from "../vmm/acceleration.ts";
import { obstacleToNamespace } from "../vmm/firecracker/namespace.ts";
import type { Diagnosis, DoctorWorld } from "./diagnosis.ts";

/** Below this no VM is made (lib/vm). */
const MIN_FREE_BYTES = 256 * MIB;
/** An image, its blobs and the disks of some VMs. */
const COMFORTABLE_FREE_BYTES = 5 * GIB;
const TOLERATED_CLOCK_LAG_MS = 24 * 60 * 60 * 1000;
const MAX_SMALL_FILE_BYTES = 1024 * 1024;

/** What the machine and its kernel are. */
export const HOST_CHECKS = {
  architecture: checkArchitecture,
  acceleration: checkAcceleration,
  vsock: checkVsock,
  "user namespaces": checkUserNamespaces,
  "network namespaces": checkNetworkNamespaces,
  "disk space": checkDiskSpace,
  clock: checkClock,
} as const;

function checkArchitecture({ architecture }: DoctorWorld): Promise<Diagnosis[]> {
  const names = Object.keys(ARCHITECTURES);
  const isSupported = names.includes(architecture);
  return Promise.resolve([{
    check: "architecture",
    severity: isSupported ? "ok" : "error",
    found: architecture,
    ...(isSupported ? {} : {
      meaning: `banger has kernels and an agent for ${names.join(" and ")} only`,
      remedy: "use a host of one of these",
    }),
  }]);
}

async function checkAcceleration({ host, userName }: DoctorWorld): Promise<Diagnosis[]> {
  const { kind, why } = await chooseAcceleration(host);
  if (kind === "kvm") return [{ check: "acceleration", severity: "ok", found: `KVM: ${why}` }];
  const remedy = /group kvm/.test(why)
    ? `sudo usermod -aG kvm ${userName}, then log in again`
    : /absent/.test(why)
    ? "sudo modprobe kvm_intel (or kvm_amd); enable virtualization in the firmware"
    : "run banger on a machine with hardware virtualization";
  return [{
    check: "acceleration",
    severity: "warning",
    found: `no KVM: ${why}`,
    meaning: "VMs work but are slow, and do not contain code that means harm to the host",
    remedy,
  }];
}

async function checkVsock({ host }: DoctorWorld): Promise<Diagnosis[]> {
  const isThere = await host.files.stat("/dev/vhost-vsock") !== undefined;
  return [{
    check: "vsock",
    severity: "ok",
    found: isThere ? "/dev/vhost-vsock is there" : "no /dev/vhost-vsock; virtio-serial is used instead",
  }];
}

/** mmdebstrap makes the default image in one, where it does not run as root. */
async function checkUserNamespaces({ host, uid, userName }: DoctorWorld): Promise<Diagnosis[]> {
  const check = "user namespaces";
  if (uid === 0) return [{ check, severity: "ok", found: "not needed: this is root" }];
  const meaning = "recipe images (debian-bookworm from packages) cannot be made without root; others can";
  if (await host.processes.which("newuidmap") === undefined) {
    const remedy = "sudo apt-get install uidmap";
    return [{ check, severity: "note", found: "newuidmap is not installed", meaning, remedy }];
  }
  const subordinate = await host.files.stat("/etc/subuid")
    ? await host.files.readText("/etc/subuid", MAX_SMALL_FILE_BYTES)
    : "";
  const hasRange = subordinate.split("\n").some((line) =>
    line.startsWith(`${userName}:`) || line.startsWith(`${uid}:`)
  );
  if (!hasRange) {
    return [{
      check,
      severity: "warning",
      found: `${userName} has no subordinate user ids in /etc/subuid`,
      meaning,
      remedy: `sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ${userName}`,
    }];
  }
  const unshare = await host.processes.which("unshare");
  const works = unshare !== undefined &&
    (await host.processes.run({ program: unshare, args: ["--user", "--map-root-user", "true"] })).code === 0;
  if (works) return [{ check, severity: "ok", found: "work, with subordinate ids" }];
  return [{
    check,
    severity: "warning",
    found: unshare ? "this kernel refuses them" : "unshare is not installed",
    meaning,
    remedy: unshare ? "sudo sysctl -w kernel.unprivileged_userns_clone=1" : "install util-linux",
  }];
}

/** Firecracker runs in one, where it has a network without root. */
async function checkNetworkNamespaces({ host, uid }: DoctorWorld): Promise<Diagnosis[]> {
  const check = "network namespaces";
  const obstacle = await obstacleToNamespace(host, uid === 0);
  if (!obstacle) return [{ check, severity: "ok", found: "work, with a tap" }];
  const meaning = "VMs with the default network run under QEMU, not under Firecracker";
  return [{ check, severity: "note", found: obstacle.why, meaning, remedy: obstacle.remedy }];
}

async function checkDiskSpace({ host, paths }: DoctorWorld): Promise<Diagnosis[]> {
  const diagnoses: Diagnosis[] = [];
  for (const directory of [paths.stateDirectory, paths.cacheDirectory]) {
    const freeBytes = await host.files.freeBytes(await nearestExisting(host, directory));
    const found = `${formatBytes(freeBytes)} free for ${directory}`;
    diagnoses.push(
      freeBytes >= COMFORTABLE_FREE_BYTES ? { check: "disk space", severity: "ok", found } : {
        check: "disk space",
        severity: freeBytes >= MIN_FREE_BYTES ? "warning" : "error",
        found,
        meaning: freeBytes >= MIN_FREE_BYTES
          ? "images and disks of VMs take gigabytes; a full disk stops VMs that write"
          : "no VM is made or started with so little",
        remedy: "free some space; banger image prune gives back what no image needs",
      },
    );
  }
  return diagnoses;
}

async function nearestExisting({ files }: DoctorWorld["host"], path: string): Promise<string> {
  let current = path;
  while (current !== "" && await files.stat(current) === undefined) {
    current = current.slice(0, current.lastIndexOf("/"));
  }
  return current === "" ? "/" : current;
}

/** A clock that is before the build breaks certificates and signatures. */
function checkClock({ host, builtAt }: DoctorWorld): Promise<Diagnosis[]> {
  const nowMs = host.clock.now();
  const isWrong = nowMs < Date.parse(builtAt) - TOLERATED_CLOCK_LAG_MS;
  const found = new Date(nowMs).toISOString();
  return Promise.resolve([
    isWrong
      ? {
        check: "clock",
        severity: "error",
        found: `${found}, which is before banger was built`,
        meaning: "registries' certificates and packages' signatures look invalid",
        remedy: "sudo timedatectl set-ntp true",
      }
      : { check: "clock", severity: "ok", found },
  ]);
}
