import { BangerError } from "../../base/errors.ts";
import type { CommandLine, Host, ProcessIdentity } from "../../base/host.ts";
import type { MachineJail, MachineSpec } from "../driver.ts";
import { assertSocketPathFits } from "../helpers.ts";
import { consolePathOf } from "./configuration.ts";

/** Above what useradd, containers and systemd give out; each VM has one of its own, by its vsock address. */
const FIRST_USER_ID = 1_900_000_000;
/** Its own threads and one for each processor: enough, and nothing to start a crowd with. */
const SPARE_THREADS = 32;
const KILL_TIMEOUT_MS = 10_000;
const MAX_PROCESS_FILE_BYTES = 4096;
/** Of `GET /proc/PID/stat`, counted from 0: the start time, behind the name, which may hold anything (proc(5)). */
const START_TIME_FIELD = 19;

type JailHost = Pick<Host, "files" | "processes">;

export interface JailerOptions {
  /** Absolute paths. The name of Firecracker's holds "firecracker": the jailer refuses others. */
  readonly jailer: string;
  readonly firecracker: string;
  /** Where the jail is built; on the filesystem of the VM's disks, and of this VM alone. */
  readonly baseDirectory: string;
  /** Where cgroup v2 is mounted and can count processes; without it, the jail has no cgroup. */
  readonly cgroupRoot?: string;
}

/** A file of the host that the jail has under another name. */
export interface JailFile {
  readonly path: string;
  readonly name: string;
  /** The VM's own: the jailed user's while it runs. Others are shared, and read only. */
  readonly isOwn: boolean;
  readonly isDevice?: boolean;
}

/** All that a jailed launch does, decided before any of it is done. */
export interface JailPlan {
  readonly jail: MachineJail;
  readonly userId: number;
  readonly files: readonly JailFile[];
  /** The jailer, which becomes Firecracker. */
  readonly command: CommandLine;
  /** The spec as Firecracker sees it: every path is one inside. */
  readonly spec: MachineSpec;
  readonly metricsPath?: string;
  /** As this host sees them. */
  readonly sockets: { readonly api: string; readonly agent: string };
}

/**
 * Pure.
 *
 * @param metricsPath the host's
 * @throws {BangerError} `host_unsupported`, `invalid_argument`
 * Source: firecracker docs/jailer.md, 1.16
 */
export function planJail(spec: MachineSpec, options: JailerOptions, metricsPath?: string): JailPlan {
  const execName = options.firecracker.slice(options.firecracker.lastIndexOf("/") + 1);
  if (!execName.includes("firecracker")) {
    throw new BangerError(
      "host_unsupported",
      `Cannot jail ${options.firecracker}: the jailer takes a program called firecracker only`,
    );
  }
  const cid = "cid" in spec.transport ? spec.transport.cid : 0;
  const userId = FIRST_USER_ID + cid;
  const root = `${options.baseDirectory}/${execName}/${spec.id}/root`;
  const sockets = { api: `${root}/api.sock`, agent: `${root}/agent.sock` };
  for (const path of Object.values(sockets)) assertSocketPathFits(path);
  const cgroup = options.cgroupRoot === undefined ? undefined : `${options.cgroupRoot}/banger/${spec.id}`;
  const own = (path: string, name: string) => ({ path, name, isOwn: true });
  const shared = (path: string, name: string) => ({ path, name, isOwn: false });
  const disks = spec.drives.map((drive) => ({
    path: drive.path,
    name: driveName(drive.id),
    // The modules' disk is the kernel's, and shared by all VMs.
    isOwn: drive.id !== "modules",
    ...("isDevice" in drive && drive.isDevice ? { isDevice: true } : {}),
  }));
  const files: JailFile[] = [
    shared(spec.kernel.vmlinuxPath, "vmlinux"),
    shared(spec.kernel.initramfsPath, "initramfs"),
    ...disks,
    own(spec.logPath, "machine.log"),
    own(consolePathOf(spec), "console.log"),
    ...(metricsPath === undefined ? [] : [own(metricsPath, "metrics.json")]),
  ];
  return {
    jail: { directory: options.baseDirectory, root, ...(cgroup === undefined ? {} : { cgroup }) },
    userId,
    files,
    command: jailerCommand(spec, options, userId),
    spec: inside(spec),
    ...(metricsPath === undefined ? {} : { metricsPath: "/metrics.json" }),
    sockets,
  };
}

/** What a disk is called inside. */
function driveName(id: MachineSpec["drives"][number]["id"]): string {
  return `${id}.disk`;
}

/** A disk's path inside. */
export function driveInJail(id: MachineSpec["drives"][number]["id"]): string {
  return `/${driveName(id)}`;
}

/** Not `--daemonize`, not `--new-pid-ns`: the process that was started becomes Firecracker, and is known by its pid. */
function jailerCommand(
  { id, cpus }: MachineSpec,
  { jailer, firecracker, baseDirectory, cgroupRoot }: JailerOptions,
  userId: number,
): CommandLine {
  const cgroups = cgroupRoot === undefined ? [] : [
    ...["--cgroup-version", "2", "--parent-cgroup", "banger"],
    ...["--cgroup", `pids.max=${cpus + SPARE_THREADS}`],
  ];
  return {
    program: jailer,
    args: [
      ...["--id", id, "--exec-file", firecracker],
      ...["--uid", `${userId}`, "--gid", `${userId}`],
      ...["--chroot-base-dir", baseDirectory],
      ...cgroups,
      ...["--", "--api-sock", "/api.sock"],
    ],
  };
}

function inside(spec: MachineSpec): MachineSpec {
  return {
    ...spec,
    runtimeDirectory: "",
    kernel: { ...spec.kernel, vmlinuxPath: "/vmlinux", initramfsPath: "/initramfs" },
    drives: spec.drives.map((drive) => ({ ...drive, path: driveInJail(drive.id) })),
    logPath: "/machine.log",
    consolePath: "/console.log",
  };
}

/**
 * Builds the directory that the jailer makes the root of. What an earlier machine left there is removed first.
 *
 * @throws {BangerError} `host_unsupported` where a file cannot be put there
 */
export async function buildJail(host: JailHost, { jail, userId, files }: JailPlan): Promise<void> {
  await removeJail(host, jail);
  await host.files.makeDirectory(jail.root, 0o700);
  for (const file of files) {
    const target = `${jail.root}/${file.name}`;
    if (!file.isOwn) {
      await share(host, file.path, target);
      continue;
    }
    // A device node of the same numbers: the jail's filesystem must allow them, as it must for the jailer's own.
    const how = file.isDevice ? ["cp", "--archive", "--dereference"] : ["ln", "--logical"];
    await must(host, how[0]!, [...how.slice(1), "--", file.path, target]);
    await must(host, "chown", ["-h", `${userId}:${userId}`, "--", target]);
  }
}

/** A link has its file's mode: what others may not read, or lies on another filesystem, is copied. */
async function share(host: JailHost, path: string, target: string): Promise<void> {
  const mode = (await host.files.stat(path))?.mode ?? 0;
  const link = ["--logical", "--", path, target];
  if ((mode & 0o004) !== 0 && (await host.processes.run({ program: "ln", args: link })).code === 0) return;
  await must(host, "cp", ["--reflink=auto", "--sparse=always", "--", path, target]);
  await must(host, "chmod", ["0444", "--", target]);
}

/**
 * Ends what runs in it, gives the VM's files back and removes it. Idempotent. What the jailed process may have made
 * there is followed nowhere.
 */
export async function removeJail(
  host: JailHost,
  { directory, root, cgroup }: MachineJail,
): Promise<void> {
  const process = await jailedProcess(host, directory);
  if (process) {
    await host.processes.signal(process, "SIGKILL");
    await host.processes.waitForExit(process, KILL_TIMEOUT_MS);
  }
  if (await host.files.stat(root)) await must(host, "chown", ["-hR", "0:0", "--", root]);
  await host.files.remove(directory);
  // Its files are the kernel's: a cgroup is removed as it is, once nobody is in it.
  if (cgroup !== undefined && await host.files.stat(cgroup)) await must(host, "rmdir", ["--", cgroup]);
}

/**
 * As `removeJail`, where only the directory is known: of a launch that a killed daemon began. The cgroup of such a
 * one goes with the VM's next start.
 */
export async function removeJailDirectory(host: JailHost, directory: string): Promise<void> {
  if (!(await host.files.stat(directory))) return;
  for (const execName of await host.files.list(directory)) {
    if (execName === PROCESS_FILE) continue;
    for (const id of await host.files.list(`${directory}/${execName}`)) {
      await removeJail(host, { directory, root: `${directory}/${execName}/${id}/root` });
    }
  }
  await removeJail(host, { directory, root: directory });
}

const PROCESS_FILE = "process";
/** Its own line of /proc and this boot's id, before anything else: a daemon that is killed now can find it later. */
const NOTE_SCRIPT = `set -e
read -r boot < /proc/sys/kernel/random/boot_id
read -r stat < "/proc/$$/stat"
printf '%s\\n%s\\n' "$boot" "$stat" > "$1"
shift
exec "$@"`;

/** The command, after it has written down who it is. Its process stays the one that was started. */
export function notingItself({ program, args }: CommandLine, { directory }: MachineJail): CommandLine {
  return { program: "sh", args: ["-c", NOTE_SCRIPT, "sh", `${directory}/${PROCESS_FILE}`, program, ...args] };
}

async function jailedProcess({ files }: JailHost, directory: string): Promise<ProcessIdentity | undefined> {
  const path = `${directory}/${PROCESS_FILE}`;
  if (!(await files.stat(path))) return undefined;
  const [bootId, stat] = (await files.readText(path, MAX_PROCESS_FILE_BYTES)).split("\n");
  const pid = Number(stat?.slice(0, stat.indexOf(" ")));
  const startTimeTicks = Number(stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[START_TIME_FIELD]);
  if (!bootId || !(pid > 0) || Number.isNaN(startTimeTicks)) return undefined; // it was cut off: nobody got further
  return { pid, startTimeTicks, bootId, executable: "" };
}

async function must({ processes }: JailHost, program: string, args: readonly string[]): Promise<void> {
  const { code, stderr } = await processes.run({ program, args });
  if (code === 0) return;
  throw new BangerError("host_unsupported", `Cannot build Firecracker's jail: ${stderr.trim()}`);
}

/** @returns where cgroup v2 is mounted and the jailer can bound a machine; undefined where it is not */
export async function findCgroupRoot({ files }: Pick<Host, "files">): Promise<string | undefined> {
  const mounts = (await files.readText("/proc/mounts", 1024 * 1024)).split("\n").map((line) =>
    line.split(" ")
  );
  const root = mounts.find(([, , type]) => type === "cgroup2")?.[1];
  if (root === undefined || !(await files.stat(`${root}/cgroup.controllers`))) return undefined;
  const controllers = (await files.readText(`${root}/cgroup.controllers`, 4096)).trim().split(" ");
  return controllers.includes("pids") ? root : undefined;
}
