#!/bin/sh
# What Docker does in a guest, each thing for real. Runs as root in a guest with docker.io and systemd. Prints a line
# for each step as feature_check.py does: ok or MISSING, its name, what was seen, separated by tabs.
set -u

tab=$(printf '\t')
busybox=/run/banger/bin/busybox
work=$(mktemp -d /var/tmp/docker-check.XXXXXX)

# Nothing is asked of a registry.
run() {
  docker run --pull never "$@"
}

# check NAME FUNCTION: what the function prints at last is what was seen.
check() {
  if seen=$("$2" 2>&1); then verdict=ok; else verdict=MISSING; fi
  printf '%s%s%s%s%s\n' "$verdict" "$tab" "$1" "$tab" "$(printf %s "$seen" | tr '\n\t' '  ' | tail -c 300)"
}

# same WHAT IS EXPECTED
same() {
  [ "$2" = "$3" ] || { echo "$1: $2, not $3"; return 1; }
}

daemon() {
  state=$(systemctl is-system-running --wait)
  failed=$(systemctl list-units --failed --plain --no-legend)
  same systemd "$state$failed" running || return
  same dockerd "$(systemctl is-active docker)" active || return
  docker info --format 'dockerd {{.ServerVersion}} under systemd, cgroup {{.CgroupVersion}} by {{.CgroupDriver}}'
}

storage() {
  driver=$(docker info --format '{{.Driver}}') && same driver "$driver" overlay2 || return
  mkdir -p "$work/root/bin" && cp "$busybox" "$work/root/bin/busybox" || return
  for name in sh wget httpd cat dd mkdir sleep; do ln -s busybox "$work/root/bin/$name" || return; done
  tar -C "$work/root" -c . | docker import - box >/dev/null || return
  printf 'FROM box\nRUN mkdir /www; echo served >/www/index.html\n' >"$work/Dockerfile"
  DOCKER_BUILDKIT=0 docker build --quiet --tag served "$work" >/dev/null || return
  same "a new layer" "$(run --rm served cat /www/index.html)" served || return
  echo "docker import of a busybox, docker build over it; driver overlay2"
}

bridge() {
  docker network create inner >/dev/null && run --detach --name web --network inner served \
    httpd -f -p 80 -h /www >/dev/null || return
  same "its answer" "$(run --rm --network inner box wget -qO- http://web/)" served || return
  echo "one container asks another over HTTP by name, on a bridge of their own"
}

published() {
  run --detach --name published --publish 8080:80 served httpd -f -p 80 -h /www >/dev/null || return
  same "its answer" "$("$busybox" wget -qO- http://127.0.0.1:8080/)" served || return
  rules=$(iptables -t nat -S DOCKER | grep -c -- '--dport 8080') && same rules "$rules" 1 || return
  echo "a published port answers in the guest; $(iptables --version)"
}

outward() {
  address=$(ip -4 -oneline address show scope global | awk '$2 !~ /docker|br-|veth/ { sub("/.*", "", $4); print $4; exit }')
  echo "of the guest" >"$work/root/page"
  "$busybox" httpd -p "$address:8000" -h "$work/root" || return
  same "its answer" "$(run --rm box wget -qO- "http://$address:8000/page")" "of the guest" || return
  echo "a container asks the guest, through NAT"
}

memory() {
  run --name greedy --memory 32m --memory-swap 32m box dd if=/dev/zero of=/dev/null bs=100M count=1 >/dev/null 2>&1
  code=$?
  killed=$(docker inspect --format '{{.State.OOMKilled}}' greedy)
  same "100 MB under --memory 32m" "$code $killed" "137 true" || return
  modest=$(run --rm --memory 32m box sh -c 'dd if=/dev/zero of=/dev/null bs=8M count=1 2>/dev/null; echo lives')
  same "8 MB under --memory 32m" "$modest" lives || return
  echo "of --memory 32m, 8 MB live and 100 MB are killed (137)"
}

check "Docker under systemd" daemon
check "Docker: images, overlay2" storage
check "Docker: bridge" bridge
check "Docker: published port" published
check "Docker: way out" outward
check "Docker: memory limit" memory
