import assert from "node:assert/strict";
import { FIRST_BOOT, SSH_SERVER_SETTINGS } from "../../../lib/guest/files/first_boot.ts";
import { modeOf, requireTools, run, temporaryDirectory, write } from "./tools.ts";

/** Each tells its call to a log; a package manager also brings the server, unless the test says it fails. */
const PACKAGE_MANAGERS = ["apt-get", "apk", "dnf", "microdnf", "yum", "pacman", "zypper"];
const OTHERS = ["systemctl", "rc-update", "rc-service"];
const FAKE = String.raw`#!/bin/sh
echo "$(basename "$0") $*" >> "$BANGER_ROOT/../log"
[ "$(basename "$0")" != systemctl ] || [ "$2" != is-enabled ] || exec test "$3" = "$ENABLED"
case "$*" in
  *openssh*)
    [ -z "$FAIL" ] || exit 9
    cp "$0" "$BANGER_ROOT/usr/sbin/sshd"
    ;;
esac
`;

interface Guest extends AsyncDisposable {
  readonly root: string;
  boot(env?: Record<string, string>): Promise<{ code: number; stderr: string; calls: string[] }>;
  isPending(): Promise<boolean>;
}

async function makeGuest(osRelease: string, tools: string[], shell = ["busybox", "sh"]): Promise<Guest> {
  await requireTools(shell[0]!);
  const directory = await temporaryDirectory();
  const root = `${directory.path}/root`;
  await write(`${directory.path}/first-boot`, FIRST_BOOT);
  await write(`${root}/var/lib/banger/first-boot-pending`, "");
  await write(`${root}/etc/os-release`, osRelease);
  for (const tool of [...tools, ...OTHERS]) await write(`${directory.path}/bin/${tool}`, FAKE, 0o755);
  // What the script looks for below the root, it calls by name.
  for (const tool of tools) await write(`${root}/usr/bin/${tool}`, FAKE, 0o755);
  await Deno.mkdir(`${root}/usr/sbin`, { recursive: true });
  const boot = async (env: Record<string, string> = {}) => {
    await Deno.remove(`${directory.path}/log`).catch(() => undefined);
    const { code, stderr } = await run(shell[0]!, [...shell.slice(1), `${directory.path}/first-boot`], {
      env: { BANGER_ROOT: root, PATH: `${directory.path}/bin:/usr/bin:/bin`, ...env },
    });
    const log = await Deno.readTextFile(`${directory.path}/log`).catch(() => "");
    return { code, stderr, calls: log.split("\n").filter(Boolean) };
  };
  return {
    root,
    boot,
    isPending: () => Deno.lstat(`${root}/var/lib/banger/first-boot-pending`).then(() => true, () => false),
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  };
}

const APT = ["apt-get update", "apt-get install -y --no-install-recommends openssh-server"];
const DNF = ["dnf -y --setopt=install_weak_deps=False install openssh-server"];
const APK = ["apk add --no-cache openssh-server openssh-sftp-server"];
const PACMAN = ["pacman -Syu --noconfirm --needed openssh"];
const ZYPPER = ["zypper --non-interactive install --no-recommends openssh"];
const DISTRIBUTIONS: [string, string, string[]][] = [
  ["Debian", 'ID=debian\nVERSION_ID="12"\n', APT],
  ["Ubuntu", 'NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\n', APT],
  ["a kin of Ubuntu", 'ID=linuxmint\nID_LIKE="ubuntu debian"\n', APT],
  ["Alpine", "ID=alpine\nVERSION_ID=3.22.1\n", APK],
  ["Fedora", "ID=fedora\n", DNF],
  ["a kin of Fedora", 'ID="rocky"\nID_LIKE="rhel centos fedora"\n', DNF],
  ["Amazon Linux", 'ID="amzn"\nID_LIKE="fedora"\n', DNF],
  ["Arch", "ID=arch\n", PACMAN],
  ["a kin of Arch", "ID=manjaro\nID_LIKE=arch\n", PACMAN],
  ["openSUSE", 'ID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"\n', ZYPPER],
  ["a kin of openSUSE", 'ID="kalpa"\nID_LIKE="suse"\n', ZYPPER],
];

for (const [distribution, osRelease, expected] of DISTRIBUTIONS) {
  Deno.test(`first-boot installs an ssh server on ${distribution}, starts it, and is done`, async () => {
    await using guest = await makeGuest(osRelease, PACKAGE_MANAGERS);
    const { code, stderr, calls } = await guest.boot();
    assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
    assert.deepEqual(calls, [...expected, "sshd "]);
    assert.equal(await guest.isPending(), false);
    const settings = await Deno.readTextFile(`${guest.root}/etc/ssh/sshd_config.d/10-banger.conf`);
    assert.equal(settings, SSH_SERVER_SETTINGS);
  });
}

for (const shell of [["busybox", "sh"], ["dash"]]) {
  Deno.test(`first-boot runs in ${shell[0]}`, async () => {
    await using guest = await makeGuest("ID=debian\n", PACKAGE_MANAGERS, shell);
    assert.deepEqual(await guest.boot(), { code: 0, stderr: "", calls: [...APT, "sshd "] });
  });
}

for (const [tool, call] of [["microdnf", "microdnf -y install"], ["yum", "yum -y install"]] as const) {
  Deno.test(`first-boot takes ${tool} where Fedora's kin have no dnf`, async () => {
    await using guest = await makeGuest("ID=centos\n", [tool]);
    assert.deepEqual((await guest.boot()).calls, [`${call} openssh-server`, "sshd "]);
  });
}

Deno.test("first-boot reads /usr/lib/os-release where /etc has none", async () => {
  await using guest = await makeGuest("", PACKAGE_MANAGERS);
  await Deno.remove(`${guest.root}/etc/os-release`);
  await write(`${guest.root}/usr/lib/os-release`, "ID=alpine\n");
  assert.deepEqual((await guest.boot()).calls, [...APK, "sshd "]);
});

Deno.test("first-boot says which distribution it does not know, with a code that is not tried again", async () => {
  await using guest = await makeGuest("ID=slackware\n", PACKAGE_MANAGERS);
  const { code, stderr, calls } = await guest.boot();
  assert.deepEqual({ code, calls }, { code: 3, calls: [] });
  assert.match(stderr, /Cannot install an ssh server: 'slackware' is no distribution this script knows/);
  assert.equal(await guest.isPending(), true);
});

Deno.test("first-boot keeps its marker where the package manager fails, and succeeds on the next boot", async () => {
  await using guest = await makeGuest("ID=debian\n", PACKAGE_MANAGERS);
  const { code, stderr } = await guest.boot({ FAIL: "1" });
  assert.equal(code, 1);
  assert.match(stderr, /the package manager failed/);
  assert.equal(await guest.isPending(), true);
  assert.equal((await guest.boot()).code, 0);
  assert.equal(await guest.isPending(), false);
});

async function makeSystemdGuest(): Promise<Guest> {
  const guest = await makeGuest("ID=debian\n", PACKAGE_MANAGERS);
  await write(`${guest.root}/usr/sbin/sshd`, FAKE, 0o755);
  await write(`${guest.root}/usr/lib/systemd/system/ssh.service`, "");
  await Deno.mkdir(`${guest.root}/run/systemd/system`, { recursive: true });
  return guest;
}

Deno.test("first-boot enables the server by systemd, and restarts it for new settings only", async () => {
  await using guest = await makeSystemdGuest();
  assert.deepEqual((await guest.boot()).calls, [
    "systemctl -q is-enabled ssh.socket",
    "systemctl -q is-enabled ssh.service",
    "systemctl enable ssh.service",
    "systemctl restart ssh.service",
  ]);
  await write(`${guest.root}/var/lib/banger/first-boot-pending`, "");
  assert.deepEqual((await guest.boot({ ENABLED: "ssh.service" })).calls, [
    "systemctl -q is-enabled ssh.socket",
    "systemctl -q is-enabled ssh.service",
    "systemctl start ssh.service",
  ]);
});

Deno.test("first-boot leaves a server alone that systemd starts by socket", async () => {
  await using guest = await makeSystemdGuest();
  assert.deepEqual((await guest.boot({ ENABLED: "ssh.socket" })).calls, [
    "systemctl -q is-enabled ssh.socket",
    "systemctl try-restart ssh.service",
  ]);
});

Deno.test("first-boot uses OpenRC where the image has it", async () => {
  await using guest = await makeGuest("ID=alpine\n", PACKAGE_MANAGERS);
  await write(`${guest.root}/sbin/openrc`, FAKE, 0o755);
  const { calls } = await guest.boot();
  assert.deepEqual(calls, [...APK, "rc-update add sshd default", "rc-service sshd restart"]);
  assert.deepEqual((await guest.boot()).calls, []);
});

Deno.test("first-boot starts the server at every later boot where no init of the image does", async () => {
  await using guest = await makeGuest("ID=alpine\n", PACKAGE_MANAGERS);
  await guest.boot();
  assert.deepEqual(await guest.boot(), { code: 0, stderr: "", calls: ["sshd "] });
});

Deno.test("first-boot writes its settings on top of a sshd_config that includes nothing", async () => {
  await using guest = await makeGuest("ID=debian\n", PACKAGE_MANAGERS);
  const main = `${guest.root}/etc/ssh/sshd_config`;
  await write(main, "PasswordAuthentication yes\n");
  for (const _ of [1, 2]) {
    await guest.boot();
    assert.equal(await Deno.readTextFile(main), `${SSH_SERVER_SETTINGS}PasswordAuthentication yes\n`);
    await write(`${guest.root}/var/lib/banger/first-boot-pending`, "");
  }
  await write(main, "Include /etc/ssh/sshd_config.d/*.conf\nPasswordAuthentication yes\n");
  await guest.boot();
  assert.doesNotMatch(await Deno.readTextFile(main), /banger/);
});

Deno.test("first-boot unlocks root for keys, and for keys only", async () => {
  await using guest = await makeGuest("ID=alpine\n", PACKAGE_MANAGERS);
  const shadow = `${guest.root}/etc/shadow`;
  await write(shadow, "root:!::0:::::\nann:!x:1::::::\n", 0o640);
  await guest.boot();
  assert.equal(await Deno.readTextFile(shadow), "root:*::0:::::\nann:!x:1::::::\n");
  assert.equal(await modeOf(shadow), "640");
});
