#!/bin/sh
# Installs banger for the current user: sh install.sh [--uninstall] [--version V] [--url URL] [--to DIR]
#
# Downloads one executable and its checksum, verifies it, and puts it into ~/.local/bin. No root. Run again it
# upgrades, or does nothing where that version is installed already. Nothing else on the host is changed.
set -eu

# `deno task release --url` writes the place of that release here.
RELEASE_URL=${BANGER_RELEASE_URL:-}

url=$RELEASE_URL
version=
target=
action=install

say() { printf 'banger: %s\n' "$*" >&2; }
fail() {
  say "$1"
  [ $# -lt 2 ] || printf '  %s\n' "$2" >&2
  exit 1
}

while [ $# -gt 0 ]; do
  case $1 in
    --uninstall) action=uninstall ;;
    --version | --url | --to)
      [ $# -ge 2 ] || fail "Cannot read the command line: $1 needs a value"
      case $1 in
        --version) version=$2 ;;
        --url) url=$2 ;;
        --to) target=$2 ;;
      esac
      shift
      ;;
    -h | --help)
      sed -n '2,5s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    *) fail "Cannot read the command line: unknown $1" "See --help" ;;
  esac
  shift
done

if [ -z "$target" ]; then
  [ -n "${HOME:-}" ] || fail "Cannot find a place to install to: HOME is not set" "Set HOME, or give --to DIR"
  target=$HOME/.local/bin
fi
executable=$target/banger

if [ "$action" = uninstall ]; then
  if [ ! -e "$executable" ]; then
    say "$executable is not there: nothing to do"
    exit 0
  fi
  "$executable" daemon stop >/dev/null 2>&1 || true
  rm -f "$executable"
  say "removed $executable. VMs, images and settings stay: remove them by hand if you want to:"
  printf '  %s\n' "${XDG_STATE_HOME:-${HOME:-}/.local/state}/banger" \
    "${XDG_CACHE_HOME:-${HOME:-}/.cache}/banger" "${XDG_CONFIG_HOME:-${HOME:-}/.config}/banger" >&2
  exit 0
fi

[ -n "$url" ] || fail "Cannot download banger: this script is of no release" "Give --url URL, or set BANGER_RELEASE_URL"
[ "$(uname -s)" = Linux ] || fail "Cannot install on $(uname -s): banger runs on Linux only"
case $(uname -m) in
  x86_64 | amd64) architecture=x86_64 ;;
  aarch64 | arm64) architecture=aarch64 ;;
  *) fail "Cannot install on $(uname -m): there is no banger for this processor" "x86_64 and aarch64 are supported" ;;
esac
command -v sha256sum >/dev/null 2>&1 || fail "Cannot verify a download: sha256sum is not installed" "Install coreutils"

fetch() {
  if command -v curl >/dev/null 2>&1; then
    curl --fail --silent --show-error --location --connect-timeout 30 --output "$2" "$1"
  elif command -v wget >/dev/null 2>&1; then
    wget --quiet --timeout=30 --output-document="$2" "$1"
  else
    fail "Cannot download anything: neither curl nor wget is installed" "Install one of them"
  fi
}

mkdir -p "$target" || fail "Cannot make $target" "Give another place: --to DIR"
# In the same directory, so that the last step is a rename: there is the old executable or the new, never half of one.
staging=$(mktemp -d "$target/.banger-install.XXXXXX") || fail "Cannot write into $target" "Give another place: --to DIR"
trap 'rm -rf "$staging"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fetch "$url/SHA256SUMS" "$staging/SHA256SUMS" || fail "Cannot fetch $url/SHA256SUMS" "Check the address and the network"
if [ -z "$version" ]; then
  name=$(sed -n "s/^[0-9a-f]\{64\}  \(banger-[0-9A-Za-z.+-]*-linux-$architecture\)$/\1/p" "$staging/SHA256SUMS" | head -n 1)
else
  name=banger-$version-linux-$architecture
fi
awk -v name="$name" 'length($1) == 64 && $2 == name' "$staging/SHA256SUMS" >"$staging/wanted"
if [ -z "$name" ] || [ ! -s "$staging/wanted" ]; then
  fail "Cannot install banger $version: $url/SHA256SUMS lists no such executable for $architecture" "Choose another version"
fi

if [ -x "$executable" ] && [ "$(sha256sum "$executable" | cut -d ' ' -f 1)" = "$(cut -d ' ' -f 1 "$staging/wanted")" ]; then
  say "$name is installed already: $executable"
  exit 0
fi
fetch "$url/$name" "$staging/$name" || fail "Cannot fetch $url/$name" "Check the network, then run this again"
(cd "$staging" && sha256sum --check --status wanted) ||
  fail "Cannot use $url/$name: its SHA-256 is not what SHA256SUMS says" "Nothing was installed. Try again later"
chmod 0755 "$staging/$name"
"$staging/$name" version >/dev/null 2>&1 ||
  fail "Cannot run banger on this host: $("$staging/$name" version 2>&1 | head -n 1)" "It needs glibc 2.27 or newer. Nothing was installed"
mv -f "$staging/$name" "$executable"
say "installed $("$executable" version): $executable"
case :${PATH:-}: in
  *":$target:"*) ;;
  *) say "$target is not on PATH. Add it: export PATH=\"$target:\$PATH\"" ;;
esac
say "look at this host: banger doctor; then: banger vm run"
