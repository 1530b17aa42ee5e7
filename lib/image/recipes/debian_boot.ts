/**
 * What a Debian tree needs to start quickly in a microVM. Under software emulation each program that runs at
 * boot costs a tenth of a second or more, before or beside the agent's own start. Nothing is taken away: what
 * is not started here still starts for whoever asks, and `systemctl enable` works as ever.
 */
import {
  byteStringOfText,
  type ContentSink,
  type DirectoryInode,
  rootOwned,
  type Timestamp,
} from "../../base/tree.ts";
import { insertFile, insertSymlink, removePath, storeBytes } from "../../base/tree_paths.ts";
import { SSH_SERVER_SETTINGS, SSH_SERVER_SETTINGS_PATH } from "../../guest/files/first_boot.ts";

const UNITS = "/etc/systemd/system";

/** Links that packages made when they were installed: as after `systemctl disable`. */
const DISABLED = [
  "timers.target.wants/apt-daily.timer",
  "timers.target.wants/apt-daily-upgrade.timer",
  "timers.target.wants/dpkg-db-backup.timer",
  "timers.target.wants/e2scrub_all.timer",
  "timers.target.wants/fstrim.timer",
  "multi-user.target.wants/e2scrub_reap.service",
  "sysinit.target.wants/systemd-pstore.service",
  "getty.target.wants/getty@tty1.service",
];

/** What systemd's own package starts at boot, by the target that wants it. */
const NOT_AT_BOOT = [
  // It starts over D-Bus for the first who needs it.
  "multi-user.target.wants/systemd-logind.service",
  "multi-user.target.wants/systemd-update-utmp-runlevel.service",
  "sysinit.target.wants/systemd-update-utmp.service",
  // The kernel has entropy from the processor and from virtio-rng.
  "sysinit.target.wants/systemd-random-seed.service",
  // The journal stays in memory, see below.
  "sysinit.target.wants/systemd-journal-flush.service",
  // It and the mounts below load kernel modules, the dearest thing at boot.
  "sysinit.target.wants/systemd-repart.service",
  "sysinit.target.wants/sys-fs-fuse-connections.mount",
  "sysinit.target.wants/sys-kernel-config.mount",
  "sysinit.target.wants/sys-kernel-debug.mount",
  "sysinit.target.wants/sys-kernel-tracing.mount",
  "sysinit.target.wants/dev-hugepages.mount",
];

/** For partitions, consoles and updates that a microVM does not have. */
const MASKED_GENERATORS = [
  "systemd-getty-generator",
  "systemd-gpt-auto-generator",
  "systemd-hibernate-resume-generator",
  "systemd-integritysetup-generator",
  "systemd-system-update-generator",
  "systemd-veritysetup-generator",
];

const REMOVED = [
  // mmdebstrap's settings for the time of the build: man pages of what is installed later are welcome.
  "/etc/apt/apt.conf.d/99mmdebstrap",
  "/etc/dpkg/dpkg.cfg.d/99mmdebstrap",
  // The only reason to run systemd-binfmt: *.pyc files as programs.
  "/usr/lib/binfmt.d/python3.11.conf",
];

function textsFor(built: Timestamp): Record<string, string> {
  // Later than /usr, so that systemd does not take the first boot for an update of /usr.
  const updated = `# Written by banger: /usr is as old as the rest.\nTIMESTAMP_NSEC=${
    built.seconds + 1
  }000000000\n`;
  return {
    "/etc/.updated": updated,
    "/var/.updated": updated,
    "/etc/machine-id": "",
    "/etc/fstab": "# banger mounts every disk before the system starts.\n",
    "/etc/default/locale": "LANG=C.UTF-8\n",
    "/etc/systemd/journald.conf.d/10-banger.conf":
      "# Written by banger: less to write at boot; remove it to keep the journal on disk.\n" +
      "[Journal]\nStorage=volatile\nRuntimeMaxUse=32M\n",
    [SSH_SERVER_SETTINGS_PATH]: SSH_SERVER_SETTINGS,
  };
}

/** @param built the date of what is added */
export async function finishDebianTree(
  root: DirectoryInode,
  sink: ContentSink,
  built: Timestamp,
): Promise<void> {
  const link = (path: string, target: string) =>
    insertSymlink(root, byteStringOfText(path), byteStringOfText(target), rootOwned(0o777, built));
  for (const path of REMOVED) removePath(root, byteStringOfText(path));
  for (const unit of DISABLED) removePath(root, byteStringOfText(`${UNITS}/${unit}`));
  // systemd.unit(5): a link to /dev/null in /etc takes back a link of the same name in /usr/lib.
  for (const unit of NOT_AT_BOOT) link(`${UNITS}/${unit}`, "/dev/null");
  for (const generator of MASKED_GENERATORS) link(`/etc/systemd/system-generators/${generator}`, "/dev/null");
  link(`${UNITS}/default.target`, "/lib/systemd/system/multi-user.target");
  const mtime: Timestamp = { seconds: built.seconds + 1, nanoseconds: 0 };
  for (const [path, text] of Object.entries(textsFor(built))) {
    const content = await storeBytes(sink, new TextEncoder().encode(text));
    insertFile(root, byteStringOfText(path), content, rootOwned(0o644, mtime));
  }
}
