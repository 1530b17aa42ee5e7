/** What a VM gets where neither the command nor `config.toml` says otherwise. */
export const VM_DEFAULTS = {
  image: "debian-bookworm",
  kernel: "debian",
  cpus: 2,
  memoryMib: 2048,
  workDiskBytes: 8 * 1024 ** 3,
  network: "user",
  /** Free on the host's disk before a VM is made or started. */
  reserveBytes: 256 * 1024 ** 2,
} as const;
