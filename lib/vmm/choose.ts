import { BangerError } from "../base/errors.ts";
import type { Host } from "../base/host.ts";
import { chooseAcceleration } from "./acceleration.ts";
import type { Acceleration, Drive, DriverName, MachineNetwork } from "./driver.ts";
import { FIRECRACKER_PROGRAM } from "./firecracker/driver.ts";
import { type NamespaceObstacle, obstacleToNamespace } from "./firecracker/namespace.ts";
import { obstacleToVersion, readProgramVersion } from "./firecracker/version.ts";

export interface DriverWishes {
  /** `--vmm`, or the configuration's. */
  readonly requested?: DriverName;
  /** The configuration's; default: on PATH. */
  readonly firecrackerProgram?: string;
  readonly network: MachineNetwork["mode"];
  readonly rootFormat: Drive["format"];
  /** Whether Firecracker is to be confined by its jailer. */
  readonly isJailed?: boolean;
}

export interface DriverChoice {
  readonly driver: DriverName;
  readonly acceleration: Acceleration;
  /** For people, as in `vm show`. */
  readonly why: string;
  /** Where Firecracker is to be confined. */
  readonly jailerPath?: string;
}

/** What this host has. */
export interface DriverFacts {
  readonly acceleration: Acceleration;
  readonly firecrackerPath: string | undefined;
  /** As the program tells it, unchecked. */
  readonly firecrackerVersion: string | undefined;
  /** Why it can have no user-mode network here; known where one is wished. */
  readonly namespaceObstacle?: NamespaceObstacle | undefined;
  /** Known where it is wished. */
  readonly jailerPath?: string | undefined;
  readonly isRoot?: boolean;
}

/**
 * Firecracker where KVM works, its program is there and it can do what is wished; else QEMU with KVM; else
 * QEMU's software emulation.
 *
 * @param isRoot whether this is root's process
 * @throws {BangerError} `host_unsupported`, `missing_tool` where Firecracker was asked for and cannot be used
 */
export async function chooseDriver(
  host: Pick<Host, "files" | "processes">,
  wishes: DriverWishes,
  isRoot: boolean,
): Promise<DriverChoice> {
  const program = wishes.firecrackerProgram ?? FIRECRACKER_PROGRAM;
  const acceleration = await chooseAcceleration(host);
  const firecrackerPath = await host.processes.which(program);
  // Asked only where it could be used: a broken program that nobody needs harms nobody.
  const isAsked = firecrackerPath !== undefined && acceleration.kind === "kvm" && wishes.requested !== "qemu";
  const firecrackerVersion = isAsked ? await readProgramVersion(host, firecrackerPath) : undefined;
  const namespaceObstacle = isAsked && wishes.network === "user"
    ? await obstacleToNamespace(host, isRoot)
    : undefined;
  const jailerPath = isAsked && wishes.isJailed ? await findJailer(host, firecrackerPath) : undefined;
  const choice = decideDriver(wishes, {
    acceleration,
    firecrackerPath,
    firecrackerVersion,
    namespaceObstacle,
    jailerPath,
    isRoot,
  });
  if (choice.driver !== "firecracker" || jailerPath === undefined) return choice;
  return { ...choice, why: `${choice.why}; it runs in its jailer`, jailerPath };
}

/** The two are released together, and must be of the same version: first where Firecracker lies, then on PATH. */
async function findJailer(
  { processes }: Pick<Host, "processes">,
  firecrackerPath: string,
): Promise<string | undefined> {
  const directory = firecrackerPath.slice(0, firecrackerPath.lastIndexOf("/"));
  return await processes.which(`${directory}/jailer`) ?? await processes.which("jailer");
}

/** As `chooseDriver`. Pure. Exported for tests. */
export function decideDriver(wishes: DriverWishes, facts: DriverFacts): DriverChoice {
  const { acceleration } = facts;
  if (wishes.requested === "qemu") return { driver: "qemu", acceleration, why: "it was asked for" };
  const obstacle = obstacleToFirecracker(wishes, facts);
  if (wishes.requested === "firecracker") {
    if (!obstacle) return { driver: "firecracker", acceleration, why: "it was asked for" };
    throw new BangerError(
      obstacle.code,
      `Cannot use Firecracker: ${obstacle.why}`,
      "Choose QEMU: --vmm qemu",
    );
  }
  return obstacle
    ? { driver: "qemu", acceleration, why: `Firecracker cannot be used: ${obstacle.why}` }
    : { driver: "firecracker", acceleration, why: "KVM works and Firecracker is installed" };
}

function obstacleToFirecracker(
  wishes: DriverWishes,
  facts: DriverFacts,
): { code: "host_unsupported" | "missing_tool"; why: string } | undefined {
  const { acceleration, firecrackerPath, firecrackerVersion, namespaceObstacle } = facts;
  if (acceleration.kind !== "kvm") {
    return { code: "host_unsupported", why: `it needs KVM, and ${acceleration.why}` };
  }
  if (firecrackerPath === undefined) {
    const program = wishes.firecrackerProgram ?? FIRECRACKER_PROGRAM;
    return { code: "missing_tool", why: `${program} is not installed` };
  }
  const tooOld = obstacleToVersion(firecrackerVersion ?? "");
  if (tooOld !== undefined) return { code: "host_unsupported", why: tooOld };
  if (namespaceObstacle) {
    const { why, remedy } = namespaceObstacle;
    return { code: "host_unsupported", why: `it can have no network without root: ${why} (${remedy})` };
  }
  if (wishes.rootFormat !== "raw") {
    return { code: "host_unsupported", why: "it has no qcow2, and the root disk is an overlay" };
  }
  if (wishes.isJailed && !facts.isRoot) {
    return { code: "host_unsupported", why: "its jailer (vmm.jailer) needs root" };
  }
  if (wishes.isJailed && facts.jailerPath === undefined) {
    return { code: "missing_tool", why: "its jailer (vmm.jailer) is not installed" };
  }
  return undefined;
}
