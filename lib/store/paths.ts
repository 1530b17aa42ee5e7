import type { HostPath } from "../base/brand.ts";
import { BangerError } from "../base/errors.ts";

/** sizeof(sockaddr_un.sun_path), with the NUL (unix(7)). */
const SOCKET_PATH_LIMIT_BYTES = 108;
/** The longest path below the runtime directory that a socket of ours takes. */
const LONGEST_SOCKET_SUFFIX = "/vms/0123456789ab/console.sock";

/** Where banger keeps things. The only place that spells a path on the host. */
export interface Paths {
  readonly configFile: HostPath;
  readonly stateDirectory: HostPath;
  readonly cacheDirectory: HostPath;
  /** Blobs of images, an OCI image-layout. */
  readonly contentDirectory: HostPath;
  /** Sockets and locks; 0700. */
  readonly runtimeDirectory: HostPath;
  readonly database: HostPath;
  readonly imagesDirectory: HostPath;
  readonly kernelsDirectory: HostPath;
  readonly vmsDirectory: HostPath;
  /** What is on its way into a VM; later it lies in the VM's own directory. */
  readonly workspacesDirectory: HostPath;
  /** Work that was taken out of VMs because they were removed. */
  readonly exportsDirectory: HostPath;
  readonly sshDirectory: HostPath;
  readonly daemonLog: HostPath;
  readonly daemonSocket: HostPath;
  readonly daemonLock: HostPath;
  /** Held by a command that starts the daemon. */
  readonly startLock: HostPath;
  readonly binDirectory: HostPath;
  /** What bridge mode must put back. */
  readonly bridgeState: HostPath;
  /** The executable before the last upgrade. */
  readonly previousExecutable: HostPath;
}

/**
 * @param variable reads an environment variable
 * @throws {BangerError} `invalid_argument` where neither HOME nor the XDG variables say where to
 * Source: XDG Base Directory Specification 0.8
 */
export function resolvePaths(variable: (name: string) => string | undefined, uid: number): Paths {
  const home = absolute(variable("HOME"));
  const base = (name: string, underHome: string) => {
    const directory = absolute(variable(name)) ?? (home && `${home}/${underHome}`);
    if (directory) return `${directory}/banger`;
    throw new BangerError(
      "invalid_argument",
      `Cannot find a place for banger's files: neither ${name} nor HOME is an absolute path`,
      `Set HOME, or set ${name}`,
    );
  };
  const config = base("XDG_CONFIG_HOME", ".config");
  const state = base("XDG_STATE_HOME", ".local/state");
  const cache = base("XDG_CACHE_HOME", ".cache");
  const runtime = runtimeDirectory(absolute(variable("XDG_RUNTIME_DIR")), state, uid);
  return {
    configFile: `${config}/config.toml` as HostPath,
    stateDirectory: state as HostPath,
    cacheDirectory: cache as HostPath,
    contentDirectory: `${cache}/oci` as HostPath,
    runtimeDirectory: runtime as HostPath,
    database: `${state}/state.db` as HostPath,
    imagesDirectory: `${state}/images` as HostPath,
    kernelsDirectory: `${state}/kernels` as HostPath,
    vmsDirectory: `${state}/vms` as HostPath,
    workspacesDirectory: `${state}/workspaces` as HostPath,
    exportsDirectory: `${state}/exports` as HostPath,
    sshDirectory: `${state}/ssh` as HostPath,
    daemonLog: `${state}/daemon.log` as HostPath,
    binDirectory: `${state}/bin` as HostPath,
    bridgeState: `${state}/bridge.json` as HostPath,
    previousExecutable: `${state}/previous/banger` as HostPath,
    daemonSocket: `${runtime}/daemon.sock` as HostPath,
    daemonLock: `${runtime}/daemon.lock` as HostPath,
    startLock: `${runtime}/start.lock` as HostPath,
  };
}

function absolute(path: string | undefined): string | undefined {
  return path?.startsWith("/") ? path.replace(/\/+$/, "") : undefined;
}

/**
 * Different state directories get different fallback directories, so that two homes of one user never
 * share a daemon.
 */
function runtimeDirectory(fromEnvironment: string | undefined, state: string, uid: number): string {
  const wanted = fromEnvironment && `${fromEnvironment}/banger`;
  const lengthBytes = new TextEncoder().encode(`${wanted}${LONGEST_SOCKET_SUFFIX}`).length;
  if (wanted && lengthBytes < SOCKET_PATH_LIMIT_BYTES) return wanted;
  return `/tmp/banger-${uid}-${fnv1a(state)}`;
}

/** FNV-1a, 32 bits: tells paths apart without loading a hash library at start. */
function fnv1a(text: string): string {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, "0");
}

/** Files of one image, below `imagesDirectory`. */
export function imagePaths(paths: Pick<Paths, "imagesDirectory">, id: string) {
  const directory = `${paths.imagesDirectory}/${id}`;
  return { directory, rootfs: `${directory}/rootfs.ext4`, record: `${directory}/image.json` } as const;
}

/** The root disk of an image: its own, or the user's where it was registered. */
export function imageRootfs(
  paths: Pick<Paths, "imagesDirectory">,
  image: { readonly id: string; readonly external?: { readonly path: string } | undefined },
): string {
  return image.external?.path ?? imagePaths(paths, image.id).rootfs;
}

/** Files of one VM, below `vmsDirectory`, and its sockets, below `runtimeDirectory`. */
export function vmPaths(paths: Pick<Paths, "vmsDirectory" | "runtimeDirectory">, id: string) {
  const directory = `${paths.vmsDirectory}/${id}`;
  const runtime = `${paths.runtimeDirectory}/vms/${id}`;
  return {
    directory,
    /** What a lost database is made from again. */
    record: `${directory}/vm.json`,
    workDisk: `${directory}/work.raw`,
    configDisk: `${directory}/config.tar`,
    hostKey: `${directory}/ssh_host_ed25519_key`,
    consoleLog: `${directory}/console.log`,
    machineLog: `${directory}/machine.log`,
    /** Firecracker's. */
    metrics: `${directory}/metrics.json`,
    relayLog: `${directory}/relay.log`,
    events: `${directory}/events.jsonl`,
    knownHosts: `${directory}/known_hosts`,
    workspace: `${directory}/workspace`,
    /** Where Firecracker's jailer builds, while the VM runs. */
    jail: `${directory}/jail`,
    runtime,
  } as const;
}

/** What a machine's network is carried with, in its runtime directory. */
export function networkFiles(runtimeDirectory: string) {
  return {
    settings: `${runtimeDirectory}/network.json`,
    /** The relay listens; the daemon asks. */
    control: `${runtimeDirectory}/network.sock`,
  } as const;
}

export type VmPaths = ReturnType<typeof vmPaths>;

export function sshPaths(paths: Pick<Paths, "sshDirectory">) {
  return {
    directory: paths.sshDirectory,
    clientKey: `${paths.sshDirectory}/id_ed25519`,
    clientPublicKey: `${paths.sshDirectory}/id_ed25519.pub`,
    /** A file for each VM, `NAME.vm`: what plain ssh looks into. */
    knownHostsDirectory: `${paths.sshDirectory}/known_hosts`,
  } as const;
}
