/**
 * `/usr/local/libexec/banger-agent-start`, for images with systemd: `early` it is called by banger's initramfs and
 * starts the agent beside everything else; without, it is the agent's service, which comes once the host's
 * configuration is applied (`banger-network.service`) and takes over what was started early.
 *
 * Generators of systemd that would find nothing to do are skipped for this boot: they, too, run before anything else.
 *
 * An agent that is started early serves nobody before the file `ready` is there. What it says goes to the kernel's
 * log, and from there to the journal, which does not run yet.
 */
export const AGENT_START = `#!/run/banger/bin/busybox sh
# shellcheck shell=dash
# Starts banger's agent, or takes over the one that was started before systemd. Written by banger; changes are lost.

agent=/usr/local/bin/banger-vsock-agent
state=/run/banger

# has_lines FILE: whether it says anything.
has_lines() {
  [ -f "$1" ] || return 1
  while read -r line; do
    case $line in '' | '#'*) ;; *) return 0 ;; esac
  done < "$1"
  return 1
}

# Whether a script of /etc/init.d has no unit, which systemd then makes one for.
has_plain_scripts() {
  for script in /etc/init.d/*; do
    name=\${script##*/}
    name=\${name%.sh}
    [ -x "$script" ] || continue
    [ -e "/lib/systemd/system/$name.service" ] || [ -L "/lib/systemd/system/$name.service" ] || return 0
  done
  return 1
}

# systemd.generator(7): an empty file here takes one back. Each is a process that systemd waits for.
skip_generators() {
  skipped=/run/systemd/system-generators
  mkdir -p $skipped
  # They look at partitions and at words of the kernel's command line, and banger has none for them.
  for name in debug gpt-auto hibernate-resume run; do : > $skipped/systemd-$name-generator; done
  has_lines /etc/fstab || : > $skipped/systemd-fstab-generator
  has_lines /etc/crypttab || : > $skipped/systemd-cryptsetup-generator
  has_lines /etc/integritytab || : > $skipped/systemd-integritysetup-generator
  has_lines /etc/veritytab || : > $skipped/systemd-veritysetup-generator
  [ -x /etc/rc.local ] || : > $skipped/systemd-rc-local-generator
  has_plain_scripts || : > $skipped/systemd-sysv-generator
}

if [ "$1" = early ]; then
  # As systemd sets it: commands inherit it.
  ulimit -H -n 524288
  # Until it serves somebody.
  renice -n -10 -p $$
  setsid $agent --when $state/ready < /dev/null > /dev/kmsg 2>&1 &
  echo $! > $state/early.pid
  skip_generators
  exit
fi

# Into this service's control groups: so far it is in those of process 1.
take_over() {
  while IFS=: read -r number controllers path; do
    groups=/sys/fs/cgroup/\${controllers#name=}
    [ "$number" != 0 ] || [ ! -d /sys/fs/cgroup/unified ] || groups=/sys/fs/cgroup/unified
    echo "$1" > "$groups$path/cgroup.procs"
  done < /proc/self/cgroup
}

if read -r pid 2> /dev/null < $state/early.pid && rm $state/early.pid && kill -0 "$pid" 2> /dev/null; then
  take_over "$pid"
  : > $state/ready
  echo "$pid" > $state/agent.pid
else
  setsid $agent < /dev/null &
  echo $! > $state/agent.pid
fi
`;
