/**
 * A release as a stranger meets it: in a bare Debian root, as a user who is not root, `install.sh` from a server on
 * the loopback, `banger doctor`, the packages that it names, and `banger vm run --rm -- true`.
 *
 * deno task bare-root    as root, or with sudo; takes minutes, and packages come from the configured Debian mirror
 */
import { BOOKWORM_SUITE, bookwormLines, hostSources } from "../lib/image/recipes/debian_bookworm.ts";
import { realHost } from "../lib/sys/host.ts";
import { release } from "./release.ts";

const USER = "visitor";
/** What `banger doctor` names as missing there; a container image would need the first only. */
const REMEDIES = ["qemu-system-x86", "mmdebstrap", "uidmap", "git", "openssh-client"];

/** Runs in its own mount and process namespace: everything ends and is unmounted with it. */
const ENTER = String.raw`
set -eu
root=$1
mount --bind "$root" "$root"
cd "$root"
mount -t proc proc proc
mount --rbind /sys sys
mount -t tmpfs -o mode=0755 tmpfs dev
for name in null zero full random urandom tty; do touch "dev/$name"; mount --bind "/dev/$name" "dev/$name"; done
if [ -e /dev/kvm ]; then touch dev/kvm; mount --bind /dev/kvm dev/kvm; fi
mkdir dev/pts dev/shm old
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount --bind /etc/resolv.conf etc/resolv.conf
pivot_root . old
umount -l /old
rmdir /old
exec setsid --wait /bin/bash /root/visit.sh
`;

const VISIT = String.raw`
set -euo pipefail
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin
as_user() { runuser --login USER_NAME --command "export LC_ALL=C.UTF-8 PATH=\$HOME/.local/bin:\$PATH; $1"; }
began=$(date +%s%3N)
story() { printf '\n== %s (%s.%03d s)\n' "$1" $((($(date +%s%3N) - began) / 1000)) $((($(date +%s%3N) - began) % 1000)); }

story "install.sh"
as_user 'curl -fsS RELEASE_URL/install.sh | sh'
story "banger doctor, on a bare host"
code=0; as_user 'banger doctor' >/tmp/doctor || code=$?
cat /tmp/doctor
[ "$code" = 5 ] || { echo "doctor ends with $code, not with 5: QEMU is missing"; exit 1; }
for name in PACKAGES; do grep -q "$name" /tmp/doctor || { echo "doctor does not name $name"; exit 1; }; done
story "banger vm run, on a bare host, is refused with what to do"
code=0; as_user 'banger vm run --rm -- true' 2>/tmp/refusal || code=$?
cat /tmp/refusal
[ "$code" = 5 ] && grep -qE "apt(-get)? install|qemu-system-x86" /tmp/refusal || { echo "ended with $code"; exit 1; }
story "the packages that doctor names"
apt-get update -qq
apt-get install -y -qq --no-install-recommends PACKAGES >/tmp/apt 2>&1 || { cat /tmp/apt; exit 1; }
story "banger doctor"
code=0; as_user 'banger doctor' || code=$?
[ "$code" -le 1 ] || { echo "doctor ends with $code"; exit 1; }
story "banger vm run --rm -- true, the first: makes image and kernel"
as_user 'banger vm run --rm -- true'
story "banger vm run --rm -- true, once more"
as_user 'banger vm run --rm -- true'
[ -z "$(as_user 'banger vm list --all --quiet')" ] || { echo "a VM is left"; exit 1; }
as_user 'banger daemon stop'
story "install.sh --uninstall"
as_user 'curl -fsS RELEASE_URL/install.sh | sh -s -- --uninstall'
story "done"
`;

function visit(url: string): string {
  return VISIT.replaceAll("USER_NAME", USER).replaceAll("RELEASE_URL", url)
    .replaceAll("PACKAGES", REMEDIES.join(" "));
}

async function run(program: string, args: readonly string[]): Promise<void> {
  const isRoot = Deno.uid() === 0;
  const command = isRoot ? [program, ...args] : ["sudo", program, ...args];
  const child = new Deno.Command(command[0]!, {
    args: command.slice(1),
    stdin: "null",
    stdout: "inherit",
    stderr: "inherit",
  }).spawn();
  const { code } = await child.status;
  if (code !== 0) throw new Error(`${program} ends with exit code ${code}`);
}

/** The files of a release, on the loopback. */
function serve(directory: string) {
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const name = decodeURIComponent(new URL(request.url).pathname.slice(1));
    if (!/^[\w.+-]+$/.test(name)) return new Response("no", { status: 404 });
    const file = await Deno.open(`${directory}/${name}`).catch(() => undefined);
    return file === undefined ? new Response("no", { status: 404 }) : new Response(file.readable);
  });
}

async function main(): Promise<void> {
  const work = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "banger-bare-" });
  const root = `${work}/root`;
  const server = serve(`${work}/release`);
  try {
    const url = `http://127.0.0.1:${server.addr.port}`;
    await release({ directory: `${work}/release`, url, allowDirty: true });
    const sources = bookwormLines(await hostSources(realHost()));
    await run("mmdebstrap", [
      "--quiet",
      "--variant=minbase",
      "--include=curl,ca-certificates",
      `--customize-hook=chroot "$1" useradd --create-home --shell /bin/bash ${USER}`,
      BOOKWORM_SUITE,
      root,
      ...sources,
    ]);
    await Deno.writeTextFile(`${work}/visit.sh`, visit(url));
    await run("install", ["-m", "0755", `${work}/visit.sh`, `${root}/root/visit.sh`]);
    const enter = ["--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"];
    await run("unshare", [...enter, "/bin/sh", "-c", ENTER, "sh", root]);
  } finally {
    await server.shutdown();
    await run("rm", ["-rf", "--one-file-system", work]);
  }
}

try {
  await main();
} catch (thrown) {
  console.error(`bare-root: ${thrown instanceof Error ? thrown.message : thrown}`);
  Deno.exit(1);
}
