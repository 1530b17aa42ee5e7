/**
 * What runs in a guest before its own init does: shell for busybox. Kept free of braced expansions, so that
 * it stands here as it runs.
 *
 * Each line of progress begins with `banger-init: `, the first being `banger-init: start`; see "Guest
 * contract" in docs/architecture.md.
 */

/** `/init` of the initramfs: process 1 until it hands over. */
const INIT = String.raw`#!/bin/busybox sh
# Process 1 of a banger guest until the image's own init takes over.

say() {
  echo "banger-init: $*"
}

# Powering off, instead of waiting for somebody to look, lets the host see at once that it went wrong.
fail() {
  say "failed: $*"
  sync
  poweroff -f
  sleep 2
  reboot -f
}

# Each list has one module file a line, in the order that they need each other.
load_modules() {
  while read -r module; do
    insmod "/modules/$module" || say "cannot load module $module"
  done <"/modules/$1.list"
}

# Disks show up while their driver is loaded; slow hosts get two seconds more.
wait_for_disk() {
  tries=0
  until [ -b "$1" ]; do
    tries=$((tries + 1))
    [ "$tries" -le 100 ] || return 1
    usleep 20000
  done
}

# With the guest's root as root directory, so that its symlinks mean what they mean to the guest.
in_root() {
  chroot /sysroot /run/banger/bin/busybox "$@"
}

# $1: device, $2: mount options, $3: directory in the guest
attach() {
  if [ ! -b "/sysroot$1" ]; then
    say "no disk $1 for $3"
    return 0
  fi
  # Each process takes 8 ms where the guest is emulated, and the directory is mostly there.
  in_root mount -t ext4 -o "$2" "$1" "$3" 2>/dev/null ||
    { in_root mkdir -p "$3" && in_root mount -t ext4 -o "$2" "$1" "$3"; }
}

say start
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount -t devtmpfs -o nosuid,mode=0755 devtmpfs /dev
load_modules disks
[ -d /sys/bus/pci/devices/0000:00:00.0 ] && load_modules pci
# While the disks are mounted: most of the time goes into checking signatures.
load_modules others &

wait_for_disk /dev/vda || fail "there is no root disk /dev/vda"
# Large programs come in pieces of this size, each of which the emulated disk takes its time for.
echo 1024 >/sys/block/vda/queue/read_ahead_kb
# Busybox mounts silently unless told otherwise, and the kernel knows best what is wrong.
reason=$(mount -t ext4 -o rw,loud /dev/vda /sysroot 2>&1) ||
  fail "cannot mount the root disk: $reason; kernel: $(dmesg | grep vda | tail -n 1)"
say "root disk mounted"

for name in dev proc run sys; do
  [ -L "/sysroot/$name" ] && rm "/sysroot/$name"
  [ -d "/sysroot/$name" ] || mkdir -m 0755 "/sysroot/$name"
done
mount -t tmpfs -o nosuid,nodev,mode=0755,size=20% tmpfs /sysroot/run
for name in dev proc sys; do
  mount --move "/$name" "/sysroot/$name" || fail "cannot move /$name to the guest's root"
done
mkdir -p /sysroot/run/banger/bin
cp -a /guest/. /sysroot/run/banger/
cp -a /bin/busybox /sysroot/run/banger/bin/busybox

in_root sh /run/banger/bin/choose-init >/sysroot/run/banger/init-choice
read -r kind init </sysroot/run/banger/init-choice
# What systemd's services would do for us is done beside the rest, long before systemd comes to it: a boot waits
# for the agent's own start longest. Images of an older banger have no such program.
early=no
if [ "$kind" = systemd ] && [ -x /sysroot/usr/local/libexec/banger-agent-start ]; then
  early=yes
  in_root sh /usr/local/libexec/banger-agent-start early
fi

attach /dev/vdb rw /root || fail "cannot mount the work disk"
if [ -b /sysroot/dev/vdc ]; then
  tar -x -f /sysroot/dev/vdc -C /sysroot/run/banger || say "cannot unpack the config disk"
else
  say "no config disk /dev/vdc"
fi
if [ "$early" = yes ]; then
  # Where it fails, its service does it again, for everybody to see.
  in_root sh /usr/local/libexec/banger-network-bootstrap && : >/sysroot/run/banger/applied &
fi
attach /dev/vdd ro "/lib/modules/$(uname -r)" || say "cannot mount the modules disk"
ip link set lo up || say "cannot set up the loopback interface"
wait
say "guest prepared"

say "handing over to $init ($kind)"
case $kind in
systemd) ;;
other)
  # Its services are not ours to edit, so the agent is kept running beside it. Handing over deletes what is
  # here, so that has to wait until the supervisor runs from the guest's root.
  in_root setsid /run/banger/bin/busybox sh /run/banger/bin/supervise &
  tries=0
  until [ -e /sysroot/run/banger/supervised ]; do
    tries=$((tries + 1))
    [ "$tries" -le 500 ] || fail "cannot start the agent's supervisor"
    usleep 10000
  done
  ;;
*)
  in_root sh /run/banger/bin/use-inittab || fail "cannot prepare busybox init"
  exec switch_root -c /dev/console /sysroot "$init" init
  ;;
esac
exec switch_root -c /dev/console /sysroot "$init"
`;

/** In the guest's root: prints what kind of init the image has, and its path. */
const CHOOSE_INIT = String.raw`#!/run/banger/bin/busybox sh
busybox=/run/banger/bin/busybox

# Images of containers may have busybox as init, with an inittab whose programs are not there.
has_working_inittab() {
  [ -f /etc/inittab ] || return 1
  while IFS=: read -r _ _ action command; do
    [ "$action" = sysinit ] || continue
    [ -x "$(echo "$command" | $busybox cut -d ' ' -f 1)" ] || return 1
  done </etc/inittab
}

for candidate in /sbin/init /usr/sbin/init /lib/systemd/systemd /usr/lib/systemd/systemd; do
  target=$($busybox readlink -f "$candidate")
  if [ ! -f "$target" ] || [ ! -x "$target" ]; then
    continue
  fi
  case $target in
  */systemd)
    kind=systemd
    ;;
  */busybox*)
    has_working_inittab || continue
    kind=other
    ;;
  *)
    kind=other
    ;;
  esac
  echo "$kind $candidate"
  exit 0
done
echo "none $busybox"
`;

/** In the guest's root: lets busybox init find our inittab, since it looks nowhere else. */
const USE_INITTAB = String.raw`#!/run/banger/bin/busybox sh
busybox=/run/banger/bin/busybox
$busybox mkdir -p /etc
[ -e /etc/inittab ] || : >/etc/inittab
exec $busybox mount -o bind /run/banger/inittab /etc/inittab
`;

const INITTAB = `::sysinit:/run/banger/bin/busybox sh /run/banger/bin/set-up
::once:/run/banger/bin/busybox sh /run/banger/bin/first-boot
::respawn:/usr/local/bin/banger-vsock-agent
::ctrlaltdel:/run/banger/bin/busybox poweroff
::shutdown:/run/banger/bin/busybox sh /run/banger/bin/shut-down
`;

/** For images without an init: what a distribution's own scripts would do first. */
const SET_UP = String.raw`#!/run/banger/bin/busybox sh
busybox=/run/banger/bin/busybox

# $1: file system, $2: options, $3: directory
mount_new() {
  $busybox mkdir -p "$3"
  $busybox mount -t "$1" -o "$2" "$1" "$3" || echo "banger-init: cannot mount $3"
}

mount_new devpts nosuid,noexec,gid=5,mode=0620,ptmxmode=0666 /dev/pts
mount_new tmpfs nosuid,nodev,mode=1777 /dev/shm
mount_new tmpfs nosuid,nodev,mode=1777 /tmp
mount_new cgroup2 nosuid,nodev,noexec /sys/fs/cgroup
[ -e /dev/fd ] || $busybox ln -s /proc/self/fd /dev/fd
[ -e /dev/stdin ] || $busybox ln -s /proc/self/fd/0 /dev/stdin
[ -e /dev/stdout ] || $busybox ln -s /proc/self/fd/1 /dev/stdout
[ -e /dev/stderr ] || $busybox ln -s /proc/self/fd/2 /dev/stderr
[ -f /run/banger/hostname ] && $busybox hostname -F /run/banger/hostname
network=/usr/local/libexec/banger-network-bootstrap
if [ -x "$network" ]; then
  "$network" || echo "banger-init: $network failed"
fi
echo "banger-init: guest set up"
`;

/** For images with an init of another kind: runs beside it what its services would. */
const SUPERVISE = String.raw`#!/run/banger/bin/busybox sh
: >/run/banger/supervised
network=/usr/local/libexec/banger-network-bootstrap
if [ -x "$network" ]; then
  "$network" || echo "banger-init: $network failed"
fi
/run/banger/bin/busybox sh /run/banger/bin/first-boot &
while :; do
  /usr/local/bin/banger-vsock-agent
  /run/banger/bin/busybox sleep 1
done
`;

/**
 * For images without systemd, once at each boot: a package manager may run for minutes, or for nothing where
 * nothing can be reached, so it starts after the agent and tells its story to a file.
 */
const FIRST_BOOT = String.raw`#!/run/banger/bin/busybox sh
busybox=/run/banger/bin/busybox
script=/usr/local/libexec/banger-first-boot
log=/run/banger/first-boot.log

[ -x "$script" ] || exit 0
tries=0
until [ -S /run/banger/agent.sock ] || [ "$tries" -ge 300 ]; do
  tries=$((tries + 1))
  $busybox usleep 100000
done
$busybox timeout 900 "$script" >"$log" 2>&1 </dev/null || echo "banger-init: no ssh server: see $log"
`;

/** Called by busybox init, which kills only afterwards: unmounting needs everybody gone. */
const SHUT_DOWN = String.raw`#!/run/banger/bin/busybox sh
busybox=/run/banger/bin/busybox

# Kernel threads and the dead have no executable.
others_run() {
  for process in /proc/[0-9]*; do
    case $process in
    /proc/1 | "/proc/$$") ;;
    *) [ -e "$process/exe" ] && return 0 ;;
    esac
  done
  return 1
}

# The shell's own kill spares the shell.
kill -TERM -1
tries=0
while others_run && [ "$tries" -lt 40 ]; do
  tries=$((tries + 1))
  $busybox usleep 50000
done
kill -KILL -1
$busybox sync
# What stays busy, such as the root, is made read-only.
$busybox umount -a -r 2>/dev/null
# Now rather than after the pauses that init makes. A reboot ends the machine just the same.
$busybox poweroff -f
`;

/** `init` is the initramfs's own; `guest` is copied to /run/banger of the guest, by path. */
export const SCRIPTS = {
  init: INIT,
  guest: {
    "inittab": INITTAB,
    "bin/choose-init": CHOOSE_INIT,
    "bin/use-inittab": USE_INITTAB,
    "bin/first-boot": FIRST_BOOT,
    "bin/set-up": SET_UP,
    "bin/shut-down": SHUT_DOWN,
    "bin/supervise": SUPERVISE,
  },
} as const;

/** The programs that `INIT` calls by name: links to busybox in the initramfs. */
export const INIT_APPLETS = [
  "chroot",
  "cp",
  "dmesg",
  "grep",
  "insmod",
  "ip",
  "mkdir",
  "mount",
  "poweroff",
  "reboot",
  "rm",
  "sh",
  "sleep",
  "switch_root",
  "sync",
  "tail",
  "tar",
  "uname",
  "usleep",
] as const;
