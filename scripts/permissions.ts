/** What each executable may do: the only place that lists it. */

const PATH_VARIABLES = [
  "HOME",
  "XDG_CONFIG_HOME",
  "XDG_STATE_HOME",
  "XDG_CACHE_HOME",
  "XDG_RUNTIME_DIR",
  "PATH",
];

/** Read by commander (colours) and by node's process shims. */
const LIBRARY_VARIABLES = [
  "NO_COLOR",
  "FORCE_COLOR",
  "CLICOLOR_FORCE",
  "NODE_ENV",
  "NODE_DEBUG",
  "READABLE_STREAM",
];

/** Where registries' credentials lie; proxies are read by the runtime itself. */
const REGISTRY_VARIABLES = ["REGISTRY_AUTH_FILE", "DOCKER_CONFIG"];

export interface Executable {
  readonly name: "banger" | "bangerd" | "banger-vsock-agent";
  readonly entry: string;
  readonly flags: readonly string[];
  /** Bundled on their own, into a directory of that name, and put inside: what no import reaches. */
  readonly workers?: Readonly<Record<string, string>>;
  /** Whether the tails of the others go into it. */
  readonly carriesCompanions: boolean;
}

export const EXECUTABLES: readonly Executable[] = [
  {
    name: "banger-vsock-agent",
    entry: "agent/main.ts",
    flags: [
      "--no-prompt",
      // libc: posix_spawn, ptys, poll, sync; the files of /proc and /dev.
      "--allow-ffi",
      // vsock and its own socket; the ports that are connected to on request.
      "--allow-net",
      "--allow-read",
      // Its socket; what sessions print; sockets anywhere that ssh forwards.
      "--allow-write",
      "--unstable-vsock",
    ],
    workers: { ssh_server: "agent/ssh/server.ts" },
    carriesCompanions: false,
  },
  {
    name: "bangerd",
    entry: "daemon.ts",
    flags: [
      "--no-prompt",
      // State and sockets, packages and archives wherever the user keeps them, /proc.
      "--allow-read",
      "--allow-write",
      // Unix sockets, vsock, registries.
      "--allow-net",
      // qemu, apt, mmdebstrap, setsid, itself as relay.
      "--allow-run",
      // flock, pidfd, FICLONE, copy_file_range; backlogs, TUN links and limits, which Deno has no calls for.
      "--allow-ffi",
      `--allow-env=${
        [
          ...PATH_VARIABLES,
          ...LIBRARY_VARIABLES,
          ...REGISTRY_VARIABLES,
          "BANGER_LOG_LEVEL",
          "BANGER_VHOST_DEVICE_VSOCK",
        ].join(",")
      }`,
      // networkInterfaces: a guest must not reach the host's own addresses.
      "--allow-sys=uid,statfs,cpus,systemMemoryInfo,networkInterfaces",
      // What is young is a layer's entries, and those stay: a small nursery copies them once, where a large one
      // holds up to 48 MiB. A conversion's peak falls from 240 to 160 MiB and takes no longer.
      "--v8-flags=--max-semi-space-size=4",
      "--unstable-vsock",
      // Datagrams: names, and what guests send.
      "--unstable-net",
    ],
    workers: {
      relay: "lib/daemon/relay_program.ts",
      decompress_worker: "lib/oci/compression/decompress_worker.ts",
    },
    carriesCompanions: false,
  },
  {
    name: "banger",
    entry: "main.ts",
    flags: [
      "--no-prompt",
      "--allow-read",
      // The companions, the directories of state and sockets.
      "--allow-write",
      // Unix sockets and vsock: it speaks to the daemon and to guests only.
      "--allow-net",
      // ssh, git, setsid for the daemon.
      "--allow-run",
      // flock, for the one that starts the daemon; openat2, statx: names that are no UTF-8, and no way out of a repository through symlinks.
      "--allow-ffi",
      `--allow-env=${
        [...PATH_VARIABLES, ...LIBRARY_VARIABLES, "GIT_CONFIG_GLOBAL", "TERM", "BANGER_TRANSPORT"].join(",")
      }`,
      "--allow-sys=uid",
      "--unstable-vsock",
    ],
    carriesCompanions: true,
  },
];
