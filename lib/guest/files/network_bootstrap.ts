/**
 * `/usr/local/libexec/banger-network-bootstrap`: applies what the host said for this boot, which banger's
 * initramfs unpacked to `/run/banger`, before sshd and the agent start. Where the image has systemd, that
 * initramfs runs it, too; else whatever starts the agent.
 *
 * It is run by the busybox that the initramfs leaves at `/run/banger/bin/busybox`, because an image need
 * not have a shell. That shell takes plain command names as its own applets, without starting a program for
 * each, and most of the work is done by what is built into any shell: the agent waits for this script, and
 * under emulation every process costs some 8 ms. Any other POSIX shell works where the tools are on PATH.
 *
 * Every part is idempotent, tells its own failure and lets the others go on: a boot must never fail for a
 * detail. `BANGER_ROOT` and `BANGER_CONFIG` point it at other directories, for tests.
 */
export const NETWORK_BOOTSTRAP = `#!/run/banger/bin/busybox sh
# shellcheck shell=dash
# Applies banger's configuration of this boot. Written by banger; changes are lost.

root=$BANGER_ROOT
config=$BANGER_CONFIG
[ -n "$config" ] || config=/run/banger
failures=0

say() { echo "banger-network-bootstrap: $*" >&2; }

nl='
'

# part NAME COMMAND...: one part of the work, which may fail on its own.
part() {
  name=$1
  shift
  "$@" && return
  say "Cannot apply $name"
  failures=$((failures + 1))
}

# load FILE: its text in $text.
load() {
  text=
  while IFS= read -r line || [ -n "$line" ]; do
    text=$text$line$nl
  done < "$1"
}

# load_own FILE: as load, without the lines that an earlier boot added. Nothing is there: nothing in $text.
load_own() {
  own=
  held=
  text=
  [ -f "$1" ] || return 0
  while IFS= read -r line || [ -n "$line" ]; do
    case $held$line in
      '# banger begin') held=$line$nl ;;
      '# banger begin'*'# banger end') held= ;;
      '# banger begin'*) held=$held$line$nl ;;
      *) own=$own$line$nl ;;
    esac
  done < "$1"
  # A block whose end somebody removed is theirs.
  text=$own$held
}

# put FILE UMASK TEXT: FILE gets the text, in one step where it was there. A symlink is replaced, not followed.
put() {
  if [ -f "$1" ] && [ ! -L "$1" ]; then
    load "$1" && [ "$text" = "$3" ] && return
  fi
  umask "$2"
  if [ -e "$1" ] || [ -L "$1" ]; then
    printf '%s' "$3" > "$1.banger-new" && mv -f -T "$1.banger-new" "$1"
  else
    printf '%s' "$3" > "$1"
  fi
}

# directory UMASK PATH...: made with their parents where they are missing.
directory() {
  umask "$1"
  shift
  for path in "$@"; do
    [ -d "$path" ] || mkdir -p "$path" || return
  done
}

apply_hostname() {
  [ -s "$config/hostname" ] || return 0
  read -r host < "$config/hostname" && [ -n "$host" ] || return
  [ -n "$root" ] || echo "$host" > /proc/sys/kernel/hostname || return
  directory 022 "$root/etc" && put "$root/etc/hostname" 022 "$host$nl" || return
  load_own "$root/etc/hosts" || return
  [ -n "$text" ] || text="127.0.0.1 localhost$nl::1 localhost ip6-localhost ip6-loopback$nl"
  put "$root/etc/hosts" 022 "$text# banger begin\${nl}127.0.1.1 $host.vm $host$nl# banger end$nl"
}

# The image's own network managers, where it has any, are told to leave our card alone.
claim_card() {
  directory 022 "$root/run/systemd/network" "$root/run/NetworkManager/conf.d" &&
    put "$root/run/systemd/network/00-banger.network" 022 "[Match]\${nl}Name=eth0$nl\${nl}[Link]\${nl}Unmanaged=yes$nl" &&
    put "$root/run/NetworkManager/conf.d/00-banger.conf" 022 "[keyfile]\${nl}unmanaged-devices=interface-name:eth0$nl"
}

bring_up() {
  # Its driver may still be on its way: two seconds.
  tries=0
  until [ -n "$root" ] || [ -e /sys/class/net/eth0 ] || [ "$tries" -ge 200 ]; do
    usleep 10000
    tries=$((tries + 1))
  done
  if ! ip addr add "$ADDRESS/$PREFIX_LENGTH" dev eth0 2> /dev/null; then
    # It has one already: this one, from a run before, or another, which goes.
    ip -o -4 addr show dev eth0 | grep -qF " $ADDRESS/$PREFIX_LENGTH " || {
      ip -4 addr flush dev eth0 && ip addr add "$ADDRESS/$PREFIX_LENGTH" dev eth0 || return
    }
  fi
  ip link set eth0 up || return
  [ -z "$GATEWAY" ] || ip route replace default via "$GATEWAY" dev eth0
}

apply_network() {
  [ -s "$config/network" ] || return 0
  ADDRESS='' PREFIX_LENGTH='' GATEWAY='' DNS=''
  # shellcheck source=/dev/null
  . "$config/network" || return
  part "the network card's ownership" claim_card
  part "the network address" bring_up
  [ -n "$DNS" ] || return 0
  servers=
  for server in $DNS; do
    servers="\${servers}nameserver $server$nl"
  done
  # A symlink here mostly leads to a stub of systemd-resolved, which reads a real file as its upstream.
  put "$root/etc/resolv.conf" 022 "$servers"
}

apply_authorized_keys() {
  [ -s "$config/authorized_keys" ] || return 0
  directory 077 "$root/root/.ssh" && load "$config/authorized_keys" || return
  ours="# banger begin$nl$text# banger end$nl"
  load_own "$root/root/.ssh/authorized_keys" && put "$root/root/.ssh/authorized_keys" 077 "$text$ours"
}

apply_host_key() {
  [ -s "$config/ssh_host_ed25519_key" ] || return 0
  directory 022 "$root/etc/ssh" || return
  load "$config/ssh_host_ed25519_key" && put "$root/etc/ssh/ssh_host_ed25519_key" 077 "$text" || return
  [ -s "$config/ssh_host_ed25519_key.pub" ] || return 0
  load "$config/ssh_host_ed25519_key.pub" && put "$root/etc/ssh/ssh_host_ed25519_key.pub" 022 "$text"
}

# The user's own identity wins: only a missing file is written.
apply_git_identity() {
  [ -s "$config/gitconfig" ] || return 0
  [ ! -e "$root/root/.gitconfig" ] && [ ! -L "$root/root/.gitconfig" ] || return 0
  load "$config/gitconfig" && put "$root/root/.gitconfig" 022 "$text"
}

# Login shells read what the agent reads, as data: nothing in a value is ever run.
apply_environment() {
  [ -s "$config/environment" ] || return 0
  [ -d "$root/etc/profile.d" ] || return 0
  # shellcheck disable=SC2016 # it is for the login shell to expand
  put "$root/etc/profile.d/banger.sh" 022 '# Written by banger at boot; changes are lost.
if [ -r /run/banger/environment ]; then
  while IFS= read -r banger_line; do
    case $banger_line in
      [A-Za-z_]*=*) export "$banger_line" ;;
    esac
  done < /run/banger/environment
  unset banger_line
fi
'
}

# Files of the host's configuration come first: what banger itself adds to one of them is not lost.
apply_files() {
  [ -s "$config/files.tar" ] || return 0
  umask 022
  tar -x -p -f "$config/files.tar" -C "$root/"
  unpacked=$?
  # They lie in the guest's memory.
  rm -f "$config/files.tar"
  return "$unpacked"
}

part "the synced files" apply_files
part "the host name" apply_hostname
part "the network" apply_network
part "the authorized keys" apply_authorized_keys
part "the ssh host key" apply_host_key
part "the git identity" apply_git_identity
part "the environment" apply_environment
[ "$failures" -eq 0 ]
`;
