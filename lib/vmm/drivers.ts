import type { Host } from "../base/host.ts";
import { chooseDriver, type DriverWishes } from "./choose.ts";
import type { Acceleration, DriverName, MachineSpec, VmmDriver } from "./driver.ts";
import { firecrackerDriver } from "./firecracker/driver.ts";
import { findQemu, qemuDriver } from "./qemu/driver.ts";

/** What the user's configuration says of VMMs. */
export interface VmmSettings {
  /** For VMs that ask for none. */
  readonly driver?: DriverName | undefined;
  /** Default: `firecracker` on PATH. */
  readonly firecrackerProgram?: string | undefined;
}

export interface ChosenDriver {
  readonly driver: VmmDriver;
  readonly acceleration: Acceleration;
  /** For people. */
  readonly why: string;
}

/** The VMMs of this host. */
export interface Drivers {
  /**
   * The one that a new machine gets.
   *
   * @throws {BangerError} `host_unsupported`, `missing_tool` where the one that was asked for cannot be used, or
   *   none is installed
   */
  choose(wishes: Omit<DriverWishes, "firecrackerProgram">): Promise<ChosenDriver>;
  /** The one that a machine runs under already. */
  named(name: DriverName): VmmDriver;
}

type DriverHost = Pick<Host, "processes" | "sockets" | "files" | "clock" | "log">;

/**
 * @param settings asked at each choice, so that a change counts from the next start on
 * @param metricsPath where a Firecracker writes its metrics
 * @param isRoot whether this is root's process
 */
export function hostDrivers(
  host: DriverHost,
  settings: () => Promise<VmmSettings>,
  metricsPath: (spec: MachineSpec) => string,
  isRoot = false,
): Drivers {
  return {
    async choose(wishes) {
      const { driver: configured, firecrackerProgram } = await settings();
      const requested = wishes.requested ?? configured;
      const { driver, acceleration, why } = await chooseDriver(host, {
        ...wishes,
        ...(requested ? { requested } : {}),
        ...(firecrackerProgram ? { firecrackerProgram } : {}),
      }, isRoot);
      if (driver === "qemu") await findQemu(host);
      const program = firecrackerProgram ? { program: firecrackerProgram } : {};
      return {
        driver: driver === "qemu"
          ? qemuDriver(host, { acceleration })
          : firecrackerDriver(host, { acceleration, metricsPath, isRoot, ...program }),
        acceleration,
        why,
      };
    },
    named: (name) => name === "qemu" ? qemuDriver(host) : firecrackerDriver(host),
  };
}
