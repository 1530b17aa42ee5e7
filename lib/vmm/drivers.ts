import type { Host } from "../base/host.ts";
import { chooseDriver, type DriverWishes } from "./choose.ts";
import type { Acceleration, DriverName, MachineSpec, VmmDriver } from "./driver.ts";
import { firecrackerDriver, type FirecrackerDriverOptions } from "./firecracker/driver.ts";
import { findCgroupRoot } from "./firecracker/jail.ts";
import { findQemu, qemuDriver } from "./qemu/driver.ts";

/** What the user's configuration says of VMMs. */
export interface VmmSettings {
  /** For VMs that ask for none. */
  readonly driver?: DriverName | undefined;
  /** Default: `firecracker` on PATH. */
  readonly firecrackerProgram?: string | undefined;
  /** Whether Firecracker is confined by its jailer. */
  readonly jailer?: boolean | undefined;
}

/** Where a Firecracker machine's files lie. */
export interface FirecrackerPlaces {
  readonly metrics: (spec: MachineSpec) => string;
  /** On the filesystem of its disks. */
  readonly jail: (spec: MachineSpec) => string;
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
  choose(wishes: Omit<DriverWishes, "firecrackerProgram" | "isJailed">): Promise<ChosenDriver>;
  /** The one that a machine runs under already. */
  named(name: DriverName): VmmDriver;
}

type DriverHost = Pick<Host, "processes" | "sockets" | "files" | "clock" | "log">;

/**
 * @param settings asked at each choice, so that a change counts from the next start on
 * @param isRoot whether this is root's process
 */
export function hostDrivers(
  host: DriverHost,
  settings: () => Promise<VmmSettings>,
  places: FirecrackerPlaces,
  isRoot = false,
): Drivers {
  return {
    async choose(wishes) {
      const { driver: configured, firecrackerProgram, jailer } = await settings();
      const requested = wishes.requested ?? configured;
      const { driver, acceleration, why, jailerPath } = await chooseDriver(host, {
        ...wishes,
        ...(requested ? { requested } : {}),
        ...(firecrackerProgram ? { firecrackerProgram } : {}),
        isJailed: jailer === true,
      }, isRoot);
      if (driver === "qemu") {
        await findQemu(host);
        return { driver: qemuDriver(host, { acceleration }), acceleration, why };
      }
      const cgroupRoot = jailerPath === undefined ? undefined : await findCgroupRoot(host);
      const program = firecrackerProgram ? { program: firecrackerProgram } : {};
      const options: FirecrackerDriverOptions = {
        acceleration,
        metricsPath: places.metrics,
        isRoot,
        ...program,
        ...(jailerPath === undefined ? {} : {
          jailer: {
            program: jailerPath,
            baseDirectory: places.jail,
            ...(cgroupRoot === undefined ? {} : { cgroupRoot }),
          },
        }),
      };
      return { driver: firecrackerDriver(host, options), acceleration, why };
    },
    named: (name) => name === "qemu" ? qemuDriver(host) : firecrackerDriver(host),
  };
}
