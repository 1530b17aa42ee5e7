import { GIB, MIB } from "./units.ts";

/** The ends of a range of whole numbers, both within it, and what to say of a number that is outside. */
export interface Limits {
  readonly min: number;
  readonly max: number;
  readonly tooSmall: string;
  readonly tooLarge: string;
}

/** What a VM may be given: by a flag, by a request, by `config.toml`. */
export const VM_LIMITS = {
  cpus: { min: 1, max: 64, tooSmall: "1 is the least", tooLarge: "64 is the most" },
  memoryMib: { min: 128, max: 1024 * 1024, tooSmall: "128 MiB is the least", tooLarge: "1 TiB is the most" },
  workDiskBytes: {
    min: 64 * MIB,
    max: 16 * 1024 * GIB,
    tooSmall: "64 MiB is the least",
    tooLarge: "16 TiB is the most",
  },
} as const satisfies Record<string, Limits>;

/** What a flag or a request may choose from. */
export const VM_CHOICES = {
  network: ["user", "bridge", "none"],
  transport: ["virtio-serial", "vhost-vsock", "vhost-device-vsock"],
  vmm: ["qemu", "firecracker"],
  rootDisk: ["reflink", "qcow2", "dm-snapshot", "copy"],
} as const;

/** Names of environment variables: what every shell can export. Source: POSIX, Base Definitions, "Name" */
export const ENVIRONMENT_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
