import assert from "node:assert/strict";
import { syncedFilesTar } from "../../../lib/guest/config/synced_files.ts";
import { NETWORK_BOOTSTRAP } from "../../../lib/guest/files/network_bootstrap.ts";
import { modeOf, requireTools, run, temporaryDirectory, write } from "./tools.ts";

/** dash finds the same tools as programs of their own; busybox's shell has them built in. */
const SHELLS: [string, string[]][] = [["busybox", ["sh"]], ["dash", []]];

interface Guest {
  readonly root: string;
  readonly config: string;
  apply(): Promise<{ code: number; stderr: string }>;
}

/** A guest's root directory and what the initramfs unpacked for it, both below `directory`. */
async function makeGuest(directory: string, [shell, args]: [string, string[]]): Promise<Guest> {
  await requireTools(shell);
  const [root, config, script] = [`${directory}/root`, `${directory}/config`, `${directory}/bootstrap`];
  await write(script, NETWORK_BOOTSTRAP);
  await write(`${root}/etc/hosts`, "127.0.0.1 localhost\n10.1.2.3 build\n");
  await Deno.mkdir(`${root}/etc/profile.d`);
  await Deno.mkdir(`${root}/root`);
  await write(`${config}/hostname`, "web\n");
  await write(`${config}/authorized_keys`, "ssh-ed25519 AAAA banger\n");
  await write(`${config}/ssh_host_ed25519_key`, "PRIVATE\n");
  await write(`${config}/ssh_host_ed25519_key.pub`, "ssh-ed25519 BBBB\n");
  await write(`${config}/environment`, "EDITOR=vi\n");
  await write(`${config}/gitconfig`, "[user]\n\tname = Ann\n");
  const env = { BANGER_ROOT: root, BANGER_CONFIG: config };
  return { root, config, apply: async () => await run(shell, [...args, script], { env }) };
}

for (const shell of SHELLS) {
  Deno.test(`network-bootstrap in ${shell[0]} unpacks synced files over what is there, and takes nothing else away`, async () => {
    await using directory = await temporaryDirectory();
    const { root, config, apply } = await makeGuest(directory.path, shell);
    const text = (content: string) => new TextEncoder().encode(content);
    const long = `/root/.config/${"long-".repeat(30)}name`;
    await Deno.chmod(`${root}/root`, 0o750);
    await write(`${root}/root/.config/tool/old`, "kept");
    await write(`${root}/root/.netrc`, "an older one");
    await Deno.writeFile(
      `${config}/files.tar`,
      syncedFilesTar([
        { kind: "file", path: "/root/.netrc", mode: 0o600, content: text("secret") },
        { kind: "directory", path: "/root/.config/tool", mode: 0o711 },
        { kind: "file", path: "/root/.config/tool/run me", mode: 0o755, content: text("#!/bin/sh\n") },
        { kind: "directory", path: "/root/.config/tool/\u00e9", mode: 0o700 },
        { kind: "file", path: long, mode: 0o640, content: text("long") },
        { kind: "file", path: "/root/.gitconfig", mode: 0o644, content: text("[user]\n\tname = Own\n") },
      ]),
    );
    assert.deepEqual(await apply(), { code: 0, stdout: "", stderr: "" });
    const read = (path: string) => Deno.readTextFileSync(`${root}${path}`);
    assert.equal(read("/root/.netrc"), "secret");
    assert.equal(read("/root/.config/tool/old"), "kept");
    assert.equal(read(long), "long");
    assert.equal(read("/root/.gitconfig"), "[user]\n\tname = Own\n", "a synced identity wins");
    const modes = ["/root", "/root/.netrc", "/root/.config/tool", "/root/.config/tool/run me"];
    assert.deepEqual(await Promise.all(modes.map((path) => modeOf(root + path))), [
      "750",
      "600",
      "711",
      "755",
    ]);
    assert.equal(await modeOf(`${root}/root/.config/tool/\u00e9`), "700");
    assert.ok(
      !Deno.readDirSync(config).some(({ name }) => name === "files.tar"),
      "it takes no memory any more",
    );
    assert.deepEqual(await apply(), { code: 0, stdout: "", stderr: "" });
  });
}

const HOSTS = "127.0.0.1 localhost\n10.1.2.3 build\n# banger begin\n127.0.1.1 web.vm web\n# banger end\n";
const KEYS = "# banger begin\nssh-ed25519 AAAA banger\n# banger end\n";

for (const shell of SHELLS) {
  Deno.test(`network-bootstrap in ${shell[0]} applies the boot's configuration, twice the same`, async () => {
    await using directory = await temporaryDirectory();
    const { root, apply } = await makeGuest(directory.path, shell);
    for (const _ of [1, 2]) {
      assert.deepEqual(await apply(), { code: 0, stdout: "", stderr: "" });
      const text = (path: string) => Deno.readTextFileSync(`${root}${path}`);
      assert.equal(text("/etc/hostname"), "web\n");
      assert.equal(text("/etc/hosts"), HOSTS);
      assert.equal(text("/root/.ssh/authorized_keys"), KEYS);
      assert.equal(text("/etc/ssh/ssh_host_ed25519_key"), "PRIVATE\n");
      assert.equal(text("/etc/ssh/ssh_host_ed25519_key.pub"), "ssh-ed25519 BBBB\n");
      assert.equal(text("/root/.gitconfig"), "[user]\n\tname = Ann\n");
      const modes = [
        "/root/.ssh",
        "/root/.ssh/authorized_keys",
        "/etc/ssh/ssh_host_ed25519_key",
        "/etc/hosts",
      ];
      assert.deepEqual(await Promise.all(modes.map((path) => modeOf(root + path))), [
        "700",
        "600",
        "600",
        "644",
      ]);
      const left = [...Deno.readDirSync(`${root}/etc`), ...Deno.readDirSync(`${root}/root/.ssh`)];
      assert.deepEqual(left.map(({ name }) => name).filter((name) => name.includes(".banger")), []);
    }
  });

  Deno.test(`network-bootstrap in ${shell[0]} keeps what is the user's own`, async () => {
    await using directory = await temporaryDirectory();
    const { root, config, apply } = await makeGuest(directory.path, shell);
    await write(`${root}/root/.gitconfig`, "[user]\n\tname = Bob\n");
    await write(`${root}/root/.ssh/authorized_keys`, "ssh-rsa MINE\n");
    await apply();
    // A later boot brings another key, and the user has added one meanwhile.
    await Deno.writeTextFile(`${root}/root/.ssh/authorized_keys`, "ssh-rsa MORE\n", { append: true });
    await write(`${config}/authorized_keys`, "ssh-ed25519 NEW banger\n");
    await apply();
    assert.equal(await Deno.readTextFile(`${root}/root/.gitconfig`), "[user]\n\tname = Bob\n");
    assert.equal(
      await Deno.readTextFile(`${root}/root/.ssh/authorized_keys`),
      "ssh-rsa MINE\nssh-rsa MORE\n# banger begin\nssh-ed25519 NEW banger\n# banger end\n",
    );
  });

  Deno.test(`network-bootstrap in ${shell[0]} tells a part that fails and does the others`, async () => {
    await using directory = await temporaryDirectory();
    const { root, apply } = await makeGuest(directory.path, shell);
    await Deno.mkdir(`${root}/etc/hostname/occupied`, { recursive: true });
    const { code, stderr } = await apply();
    assert.equal(code, 1);
    assert.match(stderr, /banger-network-bootstrap: Cannot apply the host name/);
    assert.equal(await Deno.readTextFile(`${root}/root/.ssh/authorized_keys`), KEYS);
  });
}

Deno.test("network-bootstrap keeps keys below a block whose end somebody removed", async () => {
  await using directory = await temporaryDirectory();
  const { root, apply } = await makeGuest(directory.path, SHELLS[0]!);
  const keys = `${root}/root/.ssh/authorized_keys`;
  await write(keys, "# banger begin\nssh-ed25519 OLD banger\nssh-rsa MINE");
  await apply();
  assert.equal(
    await Deno.readTextFile(keys),
    `# banger begin\nssh-ed25519 OLD banger\nssh-rsa MINE\n${KEYS}`,
  );
});

Deno.test("network-bootstrap starts few processes: the agent waits for it", async () => {
  await requireTools("unshare", "busybox");
  await using directory = await temporaryDirectory();
  const { root, config } = await makeGuest(directory.path, SHELLS[0]!);
  // In a namespace of its own, pids count from 1: the first shell, the script, what it starts, the last shell.
  const script = `busybox sh ${config}/../bootstrap; exec busybox sh -c 'busybox sh -c "echo \\$\\$" | cat'`;
  const { stdout } = await run("unshare", [
    "--user",
    "--map-root-user",
    "--pid",
    "--fork",
    "sh",
    "-c",
    script,
  ], {
    env: { BANGER_ROOT: root, BANGER_CONFIG: config },
  });
  const started = Number(stdout) - 3;
  assert.ok(started >= 1 && started <= 4, `${started} processes`);
});

Deno.test("network-bootstrap does nothing where the host said nothing", async () => {
  await using directory = await temporaryDirectory();
  const { root, config, apply } = await makeGuest(directory.path, SHELLS[0]!);
  await Deno.remove(config, { recursive: true });
  await Deno.mkdir(config);
  assert.deepEqual(await apply(), { code: 0, stdout: "", stderr: "" });
  assert.deepEqual([...Deno.readDirSync(`${root}/etc`)].map(({ name }) => name).sort(), [
    "hosts",
    "profile.d",
  ]);
});

Deno.test("login shells get the environment as data, whatever is in it", async () => {
  await using directory = await temporaryDirectory();
  const { root, apply } = await makeGuest(directory.path, SHELLS[0]!);
  await apply();
  const profile = (await Deno.readTextFile(`${root}/etc/profile.d/banger.sh`))
    .replaceAll("/run/banger/environment", `${directory.path}/environment`);
  await write(`${directory.path}/profile.sh`, profile);
  const value = "$(touch /nonexistent/x) `id` 'single' \"double\" \\n a=b";
  await write(`${directory.path}/environment`, `FIRST=1\n0BAD=2\nVALUE=${value}\n`);
  const command = `. ${directory.path}/profile.sh; printf '%s|%s' "$FIRST" "$VALUE"`;
  for (const shell of ["dash", "bash"]) {
    const { stdout, stderr } = await run(shell, ["-c", command]);
    assert.deepEqual({ stdout, stderr }, { stdout: `1|${value}`, stderr: "" });
  }
});

/** In a user and network namespace of its own, whose only card is half of a virtual cable named eth0. */
async function applyInNamespace(
  root: string,
  config: string,
  then: string,
): Promise<{ code: number; stdout: string; stderr: string }> {
  const script = [
    "busybox ip link add eth0 type veth peer && busybox ip link set veth0 up",
    `busybox sh ${config}/../bootstrap`,
    `code=$?`,
    `busybox sh ${config}/../bootstrap || exit`,
    then,
    "exit $code",
  ].join("\n");
  return await run("unshare", ["--user", "--map-root-user", "--net", "sh", "-c", script], {
    env: { BANGER_ROOT: root, BANGER_CONFIG: config },
  });
}

Deno.test("network-bootstrap sets address, route and name servers, and again without complaint", async () => {
  await requireTools("unshare", "busybox");
  await using directory = await temporaryDirectory();
  const { root, config } = await makeGuest(directory.path, SHELLS[0]!);
  await write(
    `${config}/network`,
    "ADDRESS=10.0.2.15\nPREFIX_LENGTH=24\nGATEWAY=10.0.2.2\nDNS='10.0.2.3 10.0.2.4'\n",
  );
  await Deno.symlink("../run/systemd/resolve/stub-resolv.conf", `${root}/etc/resolv.conf`);
  const show = "busybox ip -o -4 addr show dev eth0; busybox ip route";
  const { code, stdout, stderr } = await applyInNamespace(root, config, show);
  assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
  assert.match(stdout, /inet 10\.0\.2\.15\/24 /);
  assert.match(stdout, /^default via 10\.0\.2\.2 dev eth0/m);
  assert.equal((await Deno.lstat(`${root}/etc/resolv.conf`)).isSymlink, false);
  assert.equal(
    await Deno.readTextFile(`${root}/etc/resolv.conf`),
    "nameserver 10.0.2.3\nnameserver 10.0.2.4\n",
  );
  const claimed = await Deno.readTextFile(`${root}/run/systemd/network/00-banger.network`);
  assert.match(claimed, /Name=eth0[^]*Unmanaged=yes/);
});
