/**
 * `/usr/local/libexec/banger-network-bootstrap`: applies what the host said for this boot, which banger's
 * initramfs unpacked to `/run/banger`, before sshd and the agent start.
 *
 * It is run by the busybox that the initramfs leaves at `/run/banger/bin/busybox`, because an image need
 * not have a shell. That shell takes plain command names as its own applets, without starting a program for
 * each (0.2 instead of 1 ms on a host, ten times that under emulation). Any other POSIX shell works where
 * the same tools are on PATH.
 *
 * Every part is idempotent, tells its own failure and lets the others go on: a boot must never fail for a
 * detail. `BANGER_ROOT` and `BANGER_CONFIG` point it at other directories, for tests.
 */
export const NETWORK_BOOTSTRAP = String.raw`#!/run/banger/bin/busybox sh
# shellcheck shell=dash
# Applies banger's configuration of this boot. Written by banger; changes are lost.

root=$BANGER_ROOT
config=$BANGER_CONFIG
[ -n "$config" ] || config=/run/banger
failures=0

say() { echo "banger-network-bootstrap: $*" >&2; }

# part NAME COMMAND...: one part of the work, which may fail on its own.
part() {
  name=$1
  shift
  "$@" && return
  say "Cannot apply $name"
  failures=$((failures + 1))
}

# replace FILE MODE: FILE gets what stdin says, in one step. A symlink is replaced, not followed.
replace() {
  rm -f "$1.banger-new"
  (umask 077 && cat > "$1.banger-new") || return
  chmod "$2" "$1.banger-new" || return
  if [ ! -L "$1" ] && cmp -s "$1" "$1.banger-new"; then
    rm -f "$1.banger-new" && chmod "$2" "$1"
  else
    mv -f -T "$1.banger-new" "$1"
  fi
}

# without_block FILE: FILE without the lines that an earlier boot added.
without_block() {
  [ ! -f "$1" ] || sed '/^# banger begin$/,/^# banger end$/d' "$1"
}

apply_hostname() {
  [ -s "$config/hostname" ] || return 0
  read -r host < "$config/hostname" && [ -n "$host" ] || return
  [ -n "$root" ] || hostname "$host" || return
  mkdir -p "$root/etc" || return
  echo "$host" | replace "$root/etc/hostname" 644 || return
  {
    [ -s "$root/etc/hosts" ] || printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n'
    without_block "$root/etc/hosts"
    printf '# banger begin\n127.0.1.1 %s.vm %s\n# banger end\n' "$host" "$host"
  } > "$root/etc/hosts.banger-text" || return
  replace "$root/etc/hosts" 644 < "$root/etc/hosts.banger-text"
  status=$?
  rm -f "$root/etc/hosts.banger-text"
  return "$status"
}

# The image's own network managers, where it has any, are told to leave our card alone.
claim_card() {
  mkdir -p "$root/run/systemd/network" "$root/run/NetworkManager/conf.d" || return
  printf '[Match]\nName=eth0\n\n[Link]\nUnmanaged=yes\n' | replace "$root/run/systemd/network/00-banger.network" 644 &&
    printf '[keyfile]\nunmanaged-devices=interface-name:eth0\n' |
    replace "$root/run/NetworkManager/conf.d/00-banger.conf" 644
}

bring_up() {
  ip link set lo up
  ip link set eth0 up || return
  if ! ip -o -4 addr show dev eth0 | grep -qF " $ADDRESS/$PREFIX_LENGTH "; then
    ip -4 addr flush dev eth0
    ip addr add "$ADDRESS/$PREFIX_LENGTH" dev eth0 || return
  fi
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
  # A symlink here mostly leads to a stub of systemd-resolved, which reads a real file as its upstream.
  for server in $DNS; do
    echo "nameserver $server"
  done | replace "$root/etc/resolv.conf" 644
}

apply_authorized_keys() {
  [ -s "$config/authorized_keys" ] || return 0
  keys=$root/root/.ssh/authorized_keys
  mkdir -p "$root/root/.ssh" && chmod 700 "$root/root/.ssh" || return
  {
    without_block "$keys"
    echo '# banger begin'
    cat "$config/authorized_keys"
    echo '# banger end'
  } > "$keys.banger-text" || return
  replace "$keys" 600 < "$keys.banger-text"
  status=$?
  rm -f "$keys.banger-text"
  return "$status"
}

apply_host_key() {
  [ -s "$config/ssh_host_ed25519_key" ] || return 0
  mkdir -p "$root/etc/ssh" || return
  replace "$root/etc/ssh/ssh_host_ed25519_key" 600 < "$config/ssh_host_ed25519_key" || return
  [ ! -s "$config/ssh_host_ed25519_key.pub" ] ||
    replace "$root/etc/ssh/ssh_host_ed25519_key.pub" 644 < "$config/ssh_host_ed25519_key.pub"
}

# The user's own identity wins: only a missing file is written.
apply_git_identity() {
  [ -s "$config/gitconfig" ] || return 0
  [ ! -e "$root/root/.gitconfig" ] && [ ! -L "$root/root/.gitconfig" ] || return 0
  replace "$root/root/.gitconfig" 644 < "$config/gitconfig"
}

# Login shells read what the agent reads, as data: nothing in a value is ever run.
apply_environment() {
  [ -s "$config/environment" ] || return 0
  [ -d "$root/etc/profile.d" ] || return 0
  replace "$root/etc/profile.d/banger.sh" 644 << 'END'
# Written by banger at boot; changes are lost.
if [ -r /run/banger/environment ]; then
  while IFS= read -r banger_line; do
    case $banger_line in
      [A-Za-z_]*=*) export "$banger_line" ;;
    esac
  done < /run/banger/environment
  unset banger_line
fi
END
}

part "the host name" apply_hostname
part "the network" apply_network
part "the authorized keys" apply_authorized_keys
part "the ssh host key" apply_host_key
part "the git identity" apply_git_identity
part "the environment" apply_environment
[ "$failures" -eq 0 ]
`;
