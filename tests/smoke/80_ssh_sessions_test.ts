/**
 * Real OpenSSH clients and rsync against NAME.vm, for the Debian image and its sshd and for an image of one
 * busybox; and sessions that go on when banger and its daemon are killed.
 */
import assert from "node:assert/strict";
import { banger, environment, HOME, killDaemon, ok, refused, removing, start, until } from "./fixture.ts";
import { applets, BUSYBOX, makeTar } from "./small_images.ts";

const CONFIG = `${HOME}/.ssh/config`;
const OWN_CONFIG = "# mine\nHost other\n  User somebody\n";
const DEBIAN = "ssh-debian";
const BARE = "ssh-bare";

interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** OpenSSH looks for its configuration in the user's home as the system knows it, so it is named. */
async function run(program: string, args: readonly string[], stdin = ""): Promise<Result> {
  const child = new Deno.Command(program, {
    args: ["-F", CONFIG, ...args],
    env: environment(),
    clearEnv: true,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    signal: AbortSignal.timeout(120_000),
  }).spawn();
  const writer = child.stdin.getWriter();
  const feeding = writer.write(new TextEncoder().encode(stdin)).then(() => writer.close());
  const text = (stream: ReadableStream<Uint8Array>) => new Response(stream).text();
  const [status, stdout, stderr] = await Promise.all([child.status, text(child.stdout), text(child.stderr)]);
  await feeding.catch(() => {}); // a program need not read all of it
  return { code: status.code, stdout, stderr };
}

async function plain(program: string, args: readonly string[]): Promise<Result> {
  const { code, stdout, stderr } = await new Deno.Command(program, {
    args: [...args],
    env: environment(),
    clearEnv: true,
  })
    .output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

async function temporaryDirectory(): Promise<{ path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir({ prefix: "banger-ssh-smoke-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** rsync with all that it needs, in one directory: neither image has it. @returns its command line in the guest */
async function portableRsync(directory: string): Promise<string> {
  await Deno.mkdir(directory);
  const { stdout: rsync } = await plain("sh", ["-c", "command -v rsync"]);
  const { stdout } = await plain("ldd", [rsync.trim()]);
  const libraries = [...stdout.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map(([, path]) => path!);
  const loader = libraries.find((path) => path.includes("ld-linux"))!;
  assert.equal((await plain("cp", ["-L", rsync.trim(), ...libraries, directory])).code, 0);
  const inGuest = "/opt/rsync-here";
  return `${inGuest}/${loader.split("/").at(-1)} --library-path ${inGuest} ${inGuest}/rsync`;
}

/** What issue and user expect of each VM alike. */
async function useSsh(t: Deno.TestContext, name: string, directory: string): Promise<void> {
  const host = `${name}.vm`;
  const local = `${directory}/${name}`;
  await Deno.mkdir(`${local}/deep`, { recursive: true });
  await Deno.writeTextFile(`${local}/deep/ünï code`, "text\n");
  await plain("sh", [
    "-c",
    `head -c 3000000 /dev/urandom >${local}/big; ln -s big ${local}/link; chmod 751 ${local}/big`,
  ]);

  await t.step(`ssh ${host}: streams, exit code, a terminal`, async () => {
    const result = await run("ssh", [host, "cat; echo err >&2; exit 3"], "in\n");
    assert.deepEqual(result, { code: 3, stdout: "in\n", stderr: "err\n" });
    const { stdout } = await run("ssh", ["-tt", host, "tty; id -u"]);
    assert.match(stdout, /\/dev\/pts\/\d+\r\n0\r\n/);
    assert.equal((await run("ssh", [`nobody-here@${host}`, "true"])).code === 0, false);
  });
  await t.step(`scp -r ${host}: there and back`, async () => {
    assert.deepEqual(await run("scp", ["-q", "-p", "-r", `${local}/deep`, `${host}:/opt/`]), {
      code: 0,
      stdout: "",
      stderr: "",
    });
    assert.equal((await run("scp", ["-q", `${local}/big`, `${host}:/opt/big`])).stderr, "");
    assert.equal(
      (await run("scp", ["-q", "-r", `${host}:/opt/deep`, `${host}:/opt/big`, `${directory}/`])).stderr,
      "",
    );
    assert.equal((await plain("cmp", [`${local}/big`, `${directory}/big`])).code, 0);
    assert.equal(await Deno.readTextFile(`${directory}/deep/ünï code`), "text\n");
    await plain("rm", ["-r", `${directory}/big`, `${directory}/deep`]);
  });
  await t.step(`sftp ${host}: directories, links, modes, names`, async () => {
    const batch = `mkdir /opt/s\nput ${local}/big /opt/s/one\nln -s one /opt/s/soft\nchmod 640 /opt/s/one\n` +
      `rename /opt/s/one /opt/s/two\nls -ln /opt/s\nget /opt/s/two ${directory}/back\nrm /opt/s/*\nrmdir /opt/s\n`;
    const { code, stdout, stderr } = await run("sftp", ["-q", "-b", "-", host], batch);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /-rw-r----- .*3000000 .*two/);
    assert.match(stdout, /lrwxrwxrwx .*soft/);
    assert.equal((await plain("cmp", [`${local}/big`, `${directory}/back`])).code, 0);
    await Deno.remove(`${directory}/back`);
  });
  await t.step(`rsync ${host}: there, only changes again, and back`, async () => {
    const command = await portableRsync(`${directory}/rsync-here`);
    assert.equal((await run("scp", ["-q", "-r", `${directory}/rsync-here`, `${host}:/opt/`])).stderr, "");
    const sync = (from: string, to: string) =>
      plain("rsync", ["-a", "--stats", "-e", `ssh -F ${CONFIG}`, `--rsync-path=${command}`, from, to]);
    const first = await sync(`${local}/`, `${host}:/opt/synced/`);
    assert.equal(first.code, 0, first.stderr);
    assert.match((await sync(`${local}/`, `${host}:/opt/synced/`)).stdout, /regular files transferred: 0/);
    assert.equal((await sync(`${host}:/opt/synced/`, `${directory}/synced/`)).code, 0);
    assert.equal((await plain("diff", ["-r", "--no-dereference", local, `${directory}/synced`])).stdout, "");
    await plain("rm", ["-r", `${directory}/synced`, `${directory}/rsync-here`]);
  });
}

Deno.test("ssh, scp, sftp and rsync reach VMs by name; sessions go on", async (t) => {
  await using directory = await temporaryDirectory();
  await Deno.mkdir(`${HOME}/.ssh`, { recursive: true, mode: 0o700 });
  await Deno.writeTextFile(CONFIG, OWN_CONFIG, { mode: 0o600 });
  const tar = await makeTar(directory.path, "bare", {
    "bin/busybox": BUSYBOX,
    ...applets("sh", "cat", "id", "tty", "sleep", "echo", "mkdir", "head"),
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "opt/there": "",
    "tmp/there": "",
  });
  await using _image = { [Symbol.asyncDispose]: async () => void await banger(["image", "rm", BARE]) };
  await ok(["image", "pull", "--quiet", "--name", BARE, `tar:${tar}`]);
  await using _bare = removing(BARE);
  await using _debian = removing(DEBIAN);
  await Promise.all([
    ok(["vm", "create", "--quiet", "--name", BARE, "--image", BARE, "--cpus", "1", "--memory", "512M"]),
    ok(["vm", "create", "--quiet", "--name", DEBIAN, "--cpus", "1", "--memory", "1G"]),
  ]);

  await t.step("ssh-config shows its lines, writes them when told to, and leaves all else", async () => {
    assert.equal((await banger(["ssh-config", "status"])).code, 1);
    await refused_(["ssh-config", "install"], /Cannot ask whether to write this/);
    assert.equal(await Deno.readTextFile(CONFIG), OWN_CONFIG);
    assert.match(await ok(["ssh-config", "install", "--yes"]), /^\+ Host \*\.vm$/m);
    assert.ok((await Deno.readTextFile(CONFIG)).endsWith(OWN_CONFIG));
    assert.match(await ok(["ssh-config", "status"]), /ssh knows VMs as NAME\.vm/);
  });
  await useSsh(t, DEBIAN, directory.path);
  await useSsh(t, BARE, directory.path);

  await t.step("vm exec is as quick to answer as before the ssh server was loaded", async () => {
    assert.equal(await ok(["vm", "exec", BARE, "--", "echo", "there"]), "there\n");
  });
  await t.step("a port of the guest's is forwarded", async () => {
    const script = "busybox nc -l -p 7777 -e busybox cat";
    assert.equal(
      await ok(["vm", "session", "start", BARE, "--name", "echo", "--", "sh", "-c", script]),
      "echo\n",
    );
    await until(
      async () => (await run("ssh", ["-W", "127.0.0.1:7777", `${BARE}.vm`], "ping")).stdout === "ping",
      "it answers",
    );
  });
  await t.step("sessions go on when client and daemon are killed, and remember all", () => useSessions(BARE));
  await t.step("vm acp passes messages, and keeps the host's files to itself", async () => {
    const agent =
      'read a; echo "$a"; echo \'{"jsonrpc":"2.0","id":5,"method":"fs/read_text_file","params":{}}\'; read b; echo "{\\"got\\":$b}"';
    const hello =
      '{"jsonrpc":"2.0","id":0,"method":"session/new","params":{"cwd":"/host","mcpServers":[]}}\n';
    const editor = start(["vm", "acp", BARE, "--cwd", "/opt", "--", "sh", "-c", agent], {
      keepsStdinOpen: true,
    });
    const writer = editor.stdin.getWriter();
    await writer.write(new TextEncoder().encode(hello));
    const [stdout, status] = await Promise.all([new Response(editor.stdout).text(), editor.status]);
    await Promise.all([writer.close().catch(() => {}), editor.stderr.cancel()]); // it has ended
    assert.equal(status.code, 0);
    const [first, second] = stdout.trim().split("\n").map((line) => JSON.parse(line));
    assert.equal(first.params.cwd, "/opt");
    assert.equal(second.got.error.code, -32601);
  });
  await t.step("ssh-config uninstall leaves the file as it was", async () => {
    await ok(["ssh-config", "uninstall", "--yes"]);
    assert.equal(await Deno.readTextFile(CONFIG), OWN_CONFIG);
  });
});

/** The change is shown on stdout, so this is no refusal as others are. */
async function refused_(args: readonly string[], pattern: RegExp): Promise<void> {
  const result = await banger(args);
  assert.equal(result.code, 2);
  assert.match(result.stderr, pattern);
}

async function useSessions(name: string): Promise<void> {
  const session = (...args: string[]) => ok(["vm", "session", ...args]);
  const script =
    'echo begun; echo err >&2; while read line; do echo "got $line"; [ "$line" = end ] && exit 5; done';
  assert.equal(
    await session("start", name, "--name", "work", "--workdir", "/opt", "--", "sh", "-c", script),
    "work\n",
  );
  await refused(["vm", "session", "start", name, "--", "no-such"], 3, /no directory of PATH has it/);
  await refused(
    ["vm", "session", "start", name, "-w", "/nowhere", "--", "sh"],
    3,
    /"\/nowhere".*does not exist/,
  );
  await refused(["vm", "session", "start", name, "--name", "work", "--", "sh"], 4, /has one of that name/);

  const attached = start(["vm", "session", "attach", name, "work"], { stdin: "one\n" });
  const reader = attached.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let seen = "";
  await until(async () => (seen += (await reader.read()).value ?? "").includes("got one"), "it answers");
  attached.kill("SIGKILL");
  await attached.status;
  await Promise.all([reader.cancel(), attached.stderr.cancel()]);
  await killDaemon();

  await Promise.all(["two", "three", "four"].map((line) => session("send", name, "work", line)));
  const [view] = (JSON.parse(await session("list", name, "--json")) as { name: string; state: string }[])
    .filter((one) => one.name === "work");
  assert.equal(view!.state, "running");
  await session("send", name, "work", "end");
  const end = await banger(["vm", "session", "attach", name, "work"]);
  assert.equal(end.code, 5);
  assert.deepEqual(end.stdout.trim().split("\n").sort(), [
    "begun",
    "got end",
    "got four",
    "got one",
    "got three",
    "got two",
  ]);
  assert.equal(end.stderr, "err\n");
  assert.match(await session("list", name), /work +exited 5/);
  assert.match(await session("logs", name, "work", "--tail", "20"), /got end/);

  await session("start", name, "--name", "long", "--tty", "--", "sh");
  await session("send", name, "long", "echo in $0 $BANGER_SESSION");
  await until(
    async () => (await session("logs", name, "long")).includes("in sh long"),
    "its terminal answers",
  );
  await session("stop", name, "long");
  assert.match(await session("list", name), /long +signal 1/);
  await session("rm", name, "long", "work");
}
