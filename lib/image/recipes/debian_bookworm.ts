/**
 * The recipe `debian-bookworm`: Debian 12 with systemd, an ssh server and the small tools that a developer
 * misses first, made by mmdebstrap from the mirror the host itself uses.
 */
import type { Host, Progress } from "../../base/host.ts";
import type { ContentSink, Timestamp } from "../../base/tree.ts";
import { GIB } from "../../base/units.ts";
import { type AptSource, parseAptSources } from "../../kernel/apt_sources.ts";
import { type FilledRoot, PLAIN_CONFIG, type RootSource } from "../root_source.ts";
import { byteProgress, replayTar } from "../tar_source.ts";
import { finishDebianTree } from "./debian_boot.ts";
import { type DebianRoot, withMmdebstrap } from "./mmdebstrap.ts";

/** 2025-06-01: what is dated later gets this, so that two builds of one mirror state are the same. */
const SOURCE_DATE_EPOCH = 1_748_736_000;
const BUILT: Timestamp = { seconds: SOURCE_DATE_EPOCH, nanoseconds: 0 };
/** Room for what people install; the file is sparse. */
const DISK_BYTES = 8 * GIB;
/** For progress only. */
const EXPECTED_TAR_BYTES = 275_000_000;

const PACKAGES = [
  // The system
  ...["systemd-sysv", "dbus", "kmod", "netbase", "tzdata", "e2fsprogs", "sudo", "openssh-server"],
  // The network
  ...["iproute2", "iputils-ping", "netcat-openbsd", "ca-certificates", "curl", "wget", "openssh-client"],
  // At the prompt
  ...["bash-completion", "less", "nano", "vim-tiny", "tmux", "ncurses-term", "procps", "psmisc", "lsof"],
  // Code
  ...["git", "make", "patch", "python3", "jq", "ripgrep", "strace", "file"],
  // Archives
  ...["rsync", "unzip", "xz-utils", "bzip2", "zstd"],
];

const BUILD_SETTINGS = "/etc/dpkg/dpkg.cfg.d/banger-build";
/**
 * Translations, manual pages, and documentation but for licences. As options of mmdebstrap these would send
 * each of the first 80 packages through a filter of its own, which takes a third of the whole time; dpkg
 * unpacks those packages once more, with the settings made here.
 */
const LEAVE_OUT_DOCUMENTATION =
  `printf 'path-exclude=/usr/share/%s/*\\n' man locale doc > "$1"${BUILD_SETTINGS} &&
echo 'path-include=/usr/share/doc/*/copyright' >> "$1"${BUILD_SETTINGS} &&
rm -rf "$1"/usr/share/man/* "$1"/usr/share/locale/* "$1"/usr/share/doc/*`;

const MAX_SOURCES_BYTES = 1024 * 1024;
export const BOOKWORM_SUITE = "bookworm";

/** Everything that mmdebstrap is asked for. @param sources lines of sources.list(5) */
export function debianBookwormRoot(sources: readonly string[]): DebianRoot {
  return {
    suite: BOOKWORM_SUITE,
    sources,
    packages: PACKAGES,
    // The disk is synced once it is whole; nothing of the directory outlives the build.
    dpkgOptions: ["force-unsafe-io"],
    extractHooks: [LEAVE_OUT_DOCUMENTATION],
    // Neither a secret, nor a name of the host, nor what differs from build to build may be in the archive.
    customizeHooks: [
      `rm "$1"${BUILD_SETTINGS}`,
      'rm -f "$1"/etc/ssh/ssh_host_*_key*',
      'rm -f "$1"/etc/resolv.conf && echo localhost > "$1"/etc/hostname',
    ],
    sourceDateEpoch: SOURCE_DATE_EPOCH,
  };
}

export function debianBookworm(host: Pick<Host, "processes" | "files">): RootSource {
  return {
    source: "recipe:debian-bookworm",
    seed: "recipe:debian-bookworm",
    timestamp: BUILT,
    sizeBytes: DISK_BYTES,
    fill: (sink, progress, signal) => fill(host, sink, progress, signal),
  };
}

async function fill(
  host: Pick<Host, "processes" | "files">,
  sink: ContentSink,
  progress: Progress,
  signal: AbortSignal,
): Promise<FilledRoot> {
  progress.stage("Install Debian 12 packages");
  const sources = bookwormLines(await hostSources(host));
  const report = byteProgress(progress, EXPECTED_TAR_BYTES);
  let started = false;
  const onBytes = (total: number) => {
    if (!started) progress.stage("Write the disk");
    started = true;
    report(total);
  };
  const { root, digest } = await withMmdebstrap(
    host,
    debianBookwormRoot(sources),
    signal,
    (archive) => replayTar(archive, sink, onBytes, signal),
  );
  await finishDebianTree(root, sink, BUILT);
  return { root, digest, config: PLAIN_CONFIG };
}

/** Every source that the host's apt has. */
export async function hostSources({ files }: Pick<Host, "files">): Promise<AptSource[]> {
  const directory = "/etc/apt/sources.list.d";
  const names = (await files.list(directory)).filter((name) => /\.(list|sources)$/.test(name));
  const found: AptSource[] = [];
  for (const path of ["/etc/apt/sources.list", ...names.map((name) => `${directory}/${name}`)]) {
    if ((await files.stat(path)) === undefined) continue;
    found.push(...parseAptSources(path, await files.readText(path, MAX_SOURCES_BYTES)));
  }
  return found;
}

/**
 * The host's own mirrors of bookworm. None where the host has no bookworm, or only without its main suite:
 * mmdebstrap then takes Debian's own mirrors.
 *
 * @returns lines of sources.list(5); keys are left to mmdebstrap, which knows Debian's
 */
export function bookwormLines(sources: readonly AptSource[]): string[] {
  const pairs = sources.flatMap(({ uris, suites }) =>
    uris.flatMap((uri) => suites.map((suite) => ({ uri, suite })))
  )
    .filter(({ uri, suite }) => /^bookworm(-updates|-security)?$/.test(suite) && /^https?:\/\//.test(uri));
  if (!pairs.some(({ suite }) => suite === "bookworm")) return [];
  return [...new Set(pairs.map(({ uri, suite }) => `deb ${uri.replace(/\/+$/, "")} ${suite} main`))];
}
