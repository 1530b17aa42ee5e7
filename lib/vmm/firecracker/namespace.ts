import { BangerError } from "../../base/errors.ts";
import type { CommandLine, Host } from "../../base/host.ts";

/** The taps in the namespace: the machine opens one, the relay gets the other. Every machine's have these names. */
export const NAMESPACE_TAP = "vm0";
export const NAMESPACE_CARD = "relay0";
/** As `lib/net/user` has it: one packet carries what takes 45 of 1500 bytes. */
export const NAMESPACE_MTU = 65_520;
/**
 * Frames under way; what is beyond is lost, and sent again. To the guest they are ours, and bounded by what its
 * connections may have under way; those that it sends take up to 64 KiB of the host's memory each.
 */
const QUEUE_FRAMES = { toGuest: 16_384, toRelay: 2048 } as const;
const PROBE_TIMEOUT_MS = 5000;
const MAX_SETTING_BYTES = 64;
/** Every Debian has them (util-linux, iproute2). */
const PROGRAMS = ["unshare", "setpriv", "ip", "nsenter"] as const;

/** Why this host gives a machine no namespace of its own, for people. */
export interface NamespaceObstacle {
  readonly why: string;
  /** A command, mostly. */
  readonly remedy: string;
}

type NamespaceHost = Pick<Host, "files" | "processes">;

/**
 * Two taps and a bridge, which are a wire and nothing more: no address, no IPv6, nothing learnt, nothing that this
 * namespace's kernel would say on it. `$1` is `ip`, `$2` who may open the machine's tap; what follows takes the place
 * of the shell, and with it its process.
 */
const SCRIPT = `set -e
"$1" -batch - <<END
link add name wire type bridge stp_state 0 mcast_snooping 0
${tapCommands(NAMESPACE_TAP, QUEUE_FRAMES.toGuest)}
${tapCommands(NAMESPACE_CARD, QUEUE_FRAMES.toRelay)}
link set dev wire mtu ${NAMESPACE_MTU} addrgenmode none
link set dev wire up
END
shift 2
exec "$@"`;

function tapCommands(name: string, queueFrames: number): string {
  return [
    `tuntap add dev ${name} mode tap user $2`,
    `link set dev ${name} mtu ${NAMESPACE_MTU} txqueuelen ${queueFrames} addrgenmode none multicast off`,
    `link set dev ${name} master wire`,
    `link set dev ${name} type bridge_slave learning off`,
    `link set dev ${name} up`,
  ].join("\n");
}

/**
 * The command in a network namespace of its own, with a tap for the guest. Its process stays the one that was
 * started. Without root the namespace lies in a user namespace, in which the command has no capability left.
 *
 * @param userId who may open the machine's tap, as the namespace knows them; its own root where nothing is said
 * @param programs absolute paths
 */
export function inNamespace(
  command: CommandLine,
  { hasUserNamespace, programs, userId = 0 }: {
    hasUserNamespace: boolean;
    programs: { ip: string; unshare: string };
    userId?: number | undefined;
  },
): CommandLine {
  const user = hasUserNamespace ? ["--user", "--map-root-user"] : [];
  const drop = hasUserNamespace
    ? ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--"]
    : [];
  return {
    ...command,
    program: programs.unshare,
    args: [...user, "--net", "--", "sh", "-c", SCRIPT, "sh", programs.ip, `${userId}`, ...drop]
      .concat(command.program, command.args),
  };
}

/** @throws {BangerError} `missing_tool` */
export async function namespacePrograms(
  { processes }: Pick<Host, "processes">,
): Promise<{ ip: string; unshare: string }> {
  const [unshare, ip] = await Promise.all([processes.which("unshare"), processes.which("ip")]);
  if (unshare && ip) return { ip, unshare };
  throw new BangerError(
    "missing_tool",
    `Cannot give Firecracker a network: ${unshare ? "ip" : "unshare"} is not installed`,
    "Install util-linux and iproute2",
  );
}

/**
 * Makes such a namespace, and lets go of it.
 *
 * @param isRoot whether this process may make one without a user namespace
 * @returns undefined where it can be done here
 */
export async function obstacleToNamespace(
  host: NamespaceHost,
  isRoot: boolean,
): Promise<NamespaceObstacle | undefined> {
  for (const program of PROGRAMS) {
    if (await host.processes.which(program)) continue;
    return { why: `${program} is not installed`, remedy: "sudo apt-get install util-linux iproute2" };
  }
  const programs = await namespacePrograms(host);
  const probe = inNamespace({ program: "true", args: [] }, { hasUserNamespace: !isRoot, programs });
  const { code, stderr } = await host.processes.run(probe, {
    timeoutMs: PROBE_TIMEOUT_MS,
    maxOutputBytes: 4096,
  });
  return code === 0 ? undefined : await reasonFor(host, stderr);
}

/** The kernel says "not permitted" to all of it: which of the known reasons it is must be looked for. */
async function reasonFor(
  host: NamespaceHost,
  stderr: string,
): Promise<NamespaceObstacle> {
  const { files } = host;
  if (!(await files.stat("/dev/net/tun"))) {
    return { why: "/dev/net/tun is absent", remedy: "sudo modprobe tun" };
  }
  if (!(await canOpen(host, "/dev/net/tun"))) {
    return { why: "/dev/net/tun does not open for this user", remedy: "sudo chmod 666 /dev/net/tun" };
  }
  const isOff = async (path: string, off: string) => await readSetting(host, path) === off;
  if (await isOff("/proc/sys/kernel/unprivileged_userns_clone", "0")) {
    return {
      why: "this kernel gives user namespaces to root only",
      remedy: "sudo sysctl -w kernel.unprivileged_userns_clone=1",
    };
  }
  if (await isOff("/proc/sys/user/max_user_namespaces", "0")) {
    return {
      why: "user namespaces are switched off (user.max_user_namespaces is 0)",
      remedy: "sudo sysctl -w user.max_user_namespaces=15000",
    };
  }
  if (await isOff("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1")) {
    return {
      why: "AppArmor lets no program of a user use user namespaces, as on Ubuntu since 24.04",
      remedy: "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    };
  }
  const line = stderr.trim().split("\n")[0] ?? "";
  return { why: `a network namespace with a tap cannot be made: ${line}`, remedy: "see the message" };
}

async function canOpen({ files }: NamespaceHost, path: string): Promise<boolean> {
  try {
    (await files.open(path, { read: true, write: true })).close();
    return true;
  } catch (thrown) {
    if (thrown instanceof BangerError && thrown.code === "permission_denied") return false;
    throw thrown;
  }
}

/** @returns undefined where this kernel has no such setting */
async function readSetting({ files }: NamespaceHost, path: string): Promise<string | undefined> {
  if (!(await files.stat(path))) return undefined;
  return (await files.readText(path, MAX_SETTING_BYTES)).trim();
}
