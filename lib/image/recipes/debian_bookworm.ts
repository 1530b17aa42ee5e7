/**
 * The recipe `debian-bookworm`: Debian 12 with systemd, an ssh server and the small tools that a developer
 * misses first, made by mmdebstrap from the mirror the host itself uses.
 *
 * What the machine does not need at boot is masked rather than left out, so that whoever wants it unmasks it.
 */
import { type AptSource, parseAptSources } from "../../base/apt_sources.ts";
import type { Host, Progress } from "../../base/host.ts";
import {
  byteStringOfText,
  type ContentSink,
  type DirectoryInode,
  rootOwned,
  type Timestamp,
} from "../../base/tree.ts";
import { insertFile, insertSymlink, removePath, storeBytes } from "../../base/tree_paths.ts";
import { GIB } from "../../base/units.ts";
import { SSH_SERVER_SETTINGS, SSH_SERVER_SETTINGS_PATH } from "../../guest/files/first_boot.ts";
import { type FilledRoot, PLAIN_CONFIG, type RootSource } from "../root_source.ts";
import { byteProgress, replayTar } from "../tar_source.ts";
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

/** Started by timers or for hardware that no microVM has. */
const MASKED_UNITS = [
  "apt-daily.timer",
  "apt-daily-upgrade.timer",
  "dpkg-db-backup.timer",
  "e2scrub_all.timer",
  "e2scrub_reap.service",
  "fstrim.timer",
  // There is no udev, so systemd would wait 90 s for the terminals' device units; `vm ssh` is the way in.
  "getty@tty1.service",
  "serial-getty@ttyS0.service",
];

/** mmdebstrap's own settings for the time of the build: man pages of what is installed later are welcome. */
const REMOVED = ["/etc/apt/apt.conf.d/99mmdebstrap", "/etc/dpkg/dpkg.cfg.d/99mmdebstrap"];

const UNITS = "/etc/systemd/system";
/** Later than /usr, so that systemd does not take the first boot for an update of /usr. */
const UPDATED: Timestamp = { seconds: SOURCE_DATE_EPOCH + 1, nanoseconds: 0 };
const UPDATED_MARK =
  `# Written by banger: /usr is as old as the rest.\nTIMESTAMP_NSEC=${UPDATED.seconds}000000000\n`;
const TEXTS = {
  "/etc/.updated": UPDATED_MARK,
  "/var/.updated": UPDATED_MARK,
  "/etc/machine-id": "",
  "/etc/fstab": "# banger mounts every disk before the system starts.\n",
  "/etc/default/locale": "LANG=C.UTF-8\n",
  "/etc/systemd/journald.conf.d/10-banger.conf":
    "# Written by banger: less to write at boot; remove it to keep the journal on disk.\n" +
    "[Journal]\nStorage=volatile\nRuntimeMaxUse=32M\n",
  [SSH_SERVER_SETTINGS_PATH]: SSH_SERVER_SETTINGS,
};
const MAX_SOURCES_BYTES = 1024 * 1024;

/** Everything that mmdebstrap is asked for. @param sources lines of sources.list(5) */
export function debianBookwormRoot(sources: readonly string[]): DebianRoot {
  return {
    suite: "bookworm",
    sources,
    packages: PACKAGES,
    dpkgOptions: [
      "path-exclude=/usr/share/man/*",
      "path-exclude=/usr/share/locale/*",
      "path-exclude=/usr/share/doc/*",
      "path-include=/usr/share/doc/*/copyright",
    ],
    // Neither a secret, nor a name of the host, nor what differs from build to build may be in the archive.
    customizeHooks: [
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
  await finishBookwormTree(root, sink);
  return { root, digest, config: PLAIN_CONFIG };
}

/** Every source that the host's apt has. */
async function hostSources({ files }: Pick<Host, "files">): Promise<AptSource[]> {
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
  const usable = sources.filter(({ uri, suite, components }) =>
    /^bookworm(-updates|-security)?$/.test(suite) && /^https?:\/\//.test(uri) && components.includes("main")
  );
  if (!usable.some(({ suite }) => suite === "bookworm")) return [];
  return [...new Set(usable.map(({ uri, suite }) => `deb ${uri} ${suite} main`))];
}

/** What the archive does not say: how the machine behaves at boot. */
export async function finishBookwormTree(root: DirectoryInode, sink: ContentSink): Promise<void> {
  for (const path of REMOVED) removePath(root, byteStringOfText(path));
  for (const unit of MASKED_UNITS) link(root, `${UNITS}/${unit}`, "/dev/null");
  // Only the start at boot is masked: over D-Bus it still starts for whoever asks.
  link(root, `${UNITS}/multi-user.target.wants/systemd-logind.service`, "/dev/null");
  link(root, `${UNITS}/default.target`, "/lib/systemd/system/multi-user.target");
  for (const [path, text] of Object.entries(TEXTS)) {
    const content = await storeBytes(sink, new TextEncoder().encode(text));
    insertFile(root, byteStringOfText(path), content, rootOwned(0o644, UPDATED));
  }
}

function link(root: DirectoryInode, path: string, target: string): void {
  insertSymlink(root, byteStringOfText(path), byteStringOfText(target), rootOwned(0o777, BUILT));
}
