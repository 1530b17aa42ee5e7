export const SSH_SERVER_SETTINGS_PATH = "/etc/ssh/sshd_config.d/10-banger.conf";

/** Images that have it already are spared a restart of their ssh server. */
export const SSH_SERVER_SETTINGS = `# Written by banger: the only ways in are keys and the console.
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitEmptyPasswords no
PermitRootLogin prohibit-password
`;

/**
 * `/usr/local/libexec/banger-first-boot`: gives an image an ssh server that takes keys only, with the
 * distribution's own package manager where there is none, and removes its marker once that worked. The
 * agent does not wait for it: only `banger vm ssh` needs it.
 *
 * `BANGER_ROOT` points it at another root directory and leaves PATH alone, for tests that put their own
 * package managers there.
 *
 * Exit codes: 0 done, 1 a step failed (the next boot tries again), 3 a distribution it does not know.
 */
export const FIRST_BOOT = String.raw`#!/run/banger/bin/busybox sh
# shellcheck shell=dash
# Installs and hardens an ssh server once. Written by banger; changes are lost.

root=$BANGER_ROOT
marker=$root/var/lib/banger/first-boot-pending
if [ -z "$root" ]; then
  PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  export PATH
fi

say() { echo "banger-first-boot: $*" >&2; }

# first_of NAME...: the path of the first of these programs that the image has.
first_of() {
  for candidate in "$@"; do
    for directory in /usr/sbin /usr/bin /sbin /bin; do
      if [ -x "$root$directory/$candidate" ]; then
        echo "$root$directory/$candidate"
        return
      fi
    done
  done
  return 1
}

# Sourced in a subshell: os-release(5) is shell assignments, and it must not change ours.
read_family() (
  ID=
  ID_LIKE=
  for file in "$root/etc/os-release" "$root/usr/lib/os-release"; do
    # shellcheck source=/dev/null
    [ ! -r "$file" ] || { . "$file" && break; }
  done
  for id in $ID $ID_LIKE; do
    case $id in
      debian | ubuntu) echo debian ;;
      alpine) echo alpine ;;
      fedora | rhel | centos | rocky | almalinux | amzn | ol) echo fedora ;;
      arch | archlinux | archarm) echo arch ;;
      suse | sles | sled | opensuse | opensuse-*) echo suse ;;
      *) continue ;;
    esac
    return 0
  done
  say "Cannot install an ssh server: '$ID' is no distribution this script knows"
  return 1
)

install_server() {
  case $1 in
    debian)
      env DEBIAN_FRONTEND=noninteractive apt-get update &&
        env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends openssh-server
      ;;
    alpine) apk add --no-cache openssh-server openssh-sftp-server ;;
    fedora)
      case $(first_of dnf microdnf yum) in
        */dnf) dnf -y --setopt=install_weak_deps=False install openssh-server ;;
        */microdnf) microdnf -y install openssh-server ;;
        */yum) yum -y install openssh-server ;;
        *)
          say "Cannot install an ssh server: the image has no package manager"
          return 1
          ;;
      esac
      ;;
    # A partial upgrade is what this distribution does not support, so it is a whole one.
    arch) pacman -Syu --noconfirm --needed openssh ;;
    suse) zypper --non-interactive install --no-recommends openssh ;;
  esac
}

settings() {
  cat << 'END'
${SSH_SERVER_SETTINGS}END
}

# sshd takes the first value it reads: an included file, or the main file's top where nothing is included.
harden_server() {
  changed=
  main=$root/etc/ssh/sshd_config
  ours=$root${SSH_SERVER_SETTINGS_PATH}
  mkdir -p "$root/etc/ssh/sshd_config.d" || return
  settings > "$ours.banger-new" || return
  if cmp -s "$ours.banger-new" "$ours"; then
    rm -f "$ours.banger-new"
  else
    changed=yes
    chmod 600 "$ours.banger-new" && mv -f -T "$ours.banger-new" "$ours" || return
  fi
  if [ -f "$main" ] && ! grep -qiE '^[[:space:]]*Include[[:space:]]+"?/etc/ssh/sshd_config\.d/' "$main" &&
    ! grep -q '^# Written by banger' "$main"; then
    changed=yes
    { settings && cat "$main"; } > "$main.banger-new" && chmod 600 "$main.banger-new" &&
      mv -f -T "$main.banger-new" "$main" || return
  fi
  # Without PAM, sshd takes a password field that begins with "!" as a locked account, for keys too.
  if grep -q '^root:!' "$root/etc/shadow" 2> /dev/null; then
    sed -i 's/^root:![^:]*:/root:*:/' "$root/etc/shadow"
  fi
}

# enable_unit NAME: started now and at every boot, with the settings as they are now.
enable_unit() {
  # What starts at boot with these settings needs nothing, and asking systemd takes its time under emulation.
  [ -n "$changed" ] || [ ! -e "$root/etc/systemd/system/multi-user.target.wants/$1" ] || return 0
  if systemctl -q is-enabled ssh.socket 2> /dev/null; then
    # This distribution starts it by socket, and that stays as it is.
    [ -z "$changed" ] || systemctl try-restart "$1"
    return
  fi
  systemctl -q is-enabled "$1" 2> /dev/null || systemctl enable "$1" || return
  if [ -n "$changed" ]; then
    systemctl restart "$1"
  else
    systemctl start "$1"
  fi
}

enable_server() {
  if [ -d "$root/run/systemd/system" ]; then
    for unit in ssh.service sshd.service; do
      for directory in /etc/systemd/system /usr/lib/systemd/system /lib/systemd/system; do
        if [ -e "$root$directory/$unit" ]; then
          enable_unit "$unit"
          return
        fi
      done
    done
  fi
  if [ -n "$(first_of openrc)" ]; then
    rc-update add sshd default && rc-service sshd restart
    return
  fi
  start_server
}

# Where no init of the image starts it, this does; so it runs at every boot there.
start_server() {
  server=$(first_of sshd) || return
  mkdir -p "$root/run/sshd" "$root/var/empty" && "$server"
}

if [ ! -e "$marker" ]; then
  if [ ! -d "$root/run/systemd/system" ] && [ -z "$(first_of openrc)" ] && [ -n "$(first_of sshd)" ]; then
    start_server
  fi
  exit
fi

if [ -z "$(first_of sshd)" ]; then
  family=$(read_family) || exit 3
  if ! install_server "$family"; then
    say "Cannot install an ssh server: the package manager failed"
    exit 1
  fi
fi
if ! harden_server; then
  say "Cannot write the ssh server's settings"
  exit 1
fi
if ! enable_server; then
  say "Cannot start the ssh server"
  exit 1
fi
rm -f "$marker"
`;
