/**
 * What the documents show and what needs a VM is run as it stands there, by a shell, in each document's order
 * (tests/unit/docs/document_commands.ts says how documents mark it). Names of public registries lead to one on the
 * loopback, by config.toml's mirrors; the VMs' image is of a few files, with stand-ins for programs that it lacks.
 */
import assert from "node:assert/strict";
import {
  bangerArguments,
  commandsOf,
  documentNames,
  readDocument,
  type ShownCommand,
} from "../unit/docs/document_commands.ts";
import { pushToRegistry, run } from "../host/oci/tools.ts";
import { banger, BIN, environment, HOME, removing, start, vmNames } from "./fixture.ts";
import { removingImage } from "./pulled_images.ts";
import { makeTreeImage, openWorkshop, type Workshop } from "./registry_images.ts";
import { applets, BUSYBOX, type Tree } from "./small_images.ts";

const CONFIG = `${HOME}/.config/banger/config.toml`;
const SSH_CONFIG = `${HOME}/.ssh/config`;
/** What the user types into each shell that a command opens. */
const TYPED =
  "echo done >>work.txt; git add work.txt && git -c user.name=A -c user.email=a@b.example commit -qm done; exit 0\n";
/** What is looked at beyond the exit code. */
const EXPECTED: Readonly<Record<string, RegExp>> = {
  "echo hi | banger vm run --rm -- cat": /^hi\n$/,
  "banger vm exec web -- systemctl is-system-running": /^running\n$/,
  "banger vm run --rm --image alpine:3.20 -- cat /etc/os-release": /^ID=alpine\n$/,
  "banger vm workspace status dev": /work\.txt/,
  "banger vm workspace diff dev": /^\+done$/m,
  "banger vm run --rm -- make test": /^tested\n$/,
};
const LOOSE_TIMEOUT_S = 300;

async function textOf(program: string, ...args: string[]): Promise<string> {
  return new TextDecoder().decode(await run(program, args)).trim();
}

/** Programs of the host, with the libraries that they are linked to. */
async function programs(...names: string[]): Promise<Tree> {
  const tree: Record<string, { copy: string }> = {};
  for (const name of names) {
    const path = await textOf("sh", "-c", `command -v ${name}`);
    tree[`usr/bin/${name}`] = { copy: path };
    for (const [library] of (await textOf("ldd", path)).matchAll(/\/\S+/g)) {
      tree[library.slice(1)] = { copy: library };
    }
  }
  return tree;
}

/** The images that commands name, in a registry that stands for all others. */
async function pushImages(workshop: Workshop): Promise<string> {
  const tree: Tree = {
    "bin/busybox": BUSYBOX,
    ...applets("sh", "cat", "echo", "ls", "mkdir", "rm", "sleep", "uname"),
    ...await programs("git", "make", "rsync"),
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/os-release": "ID=alpine\n",
    "usr/bin/systemctl": "#!/bin/sh\necho running\n",
    "usr/bin/claude-code-acp": "#!/bin/sh\nexit 0\n",
    "usr/bin/npm":
      '#!/bin/sh\nbusybox httpd -f -p 3000 & echo started\nwhile read -r line; do echo "got $line"; done\nwait\n',
    "tmp/.keep": "",
    "root/.keep": "",
  };
  await makeTreeImage(workshop, "tree", tree, ["--config.cmd=/bin/sh"]);
  await pushToRegistry(workshop.layout, "tree", `${workshop.host}/library/alpine:3.20`);
  await makeTreeImage(workshop, "other", { ...tree, "etc/os-release": "ID=other\n" }, [
    "--config.cmd=/bin/sh",
  ]);
  const reference = `${workshop.host}/team/documents:v1`;
  await pushToRegistry(workshop.layout, "other", reference);
  return reference;
}

/** Its directory is the user's repository, and has all that commands name. */
async function makeProject(directory: string): Promise<void> {
  const script =
    `mkdir -p project src assets dist coverage; echo code | tee src/code dist/code >coverage/code; echo picture >assets/picture
    printf 'test:\\n\\t@echo tested\\n' >Makefile; cp Makefile project
    git init -q -b main; git config user.name 'A User'; git config user.email user@example.org
    git add .; git commit -qm one`;
  await run("bash", ["-ec", script], { cwd: directory });
}

/** Restored afterwards, or gone where there was none. */
async function replaced(path: string, text: string): Promise<AsyncDisposable> {
  const before = await Deno.readTextFile(path).catch(() => undefined);
  await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true, mode: 0o700 });
  await Deno.writeTextFile(path, text, { mode: 0o600 });
  return {
    async [Symbol.asyncDispose]() {
      if (before === undefined) await Deno.remove(path);
      else await Deno.writeTextFile(path, before);
    },
  };
}

/** OpenSSH looks for its configuration in the user's home as the system knows it. @returns a directory for PATH */
async function sshOfThisHome(directory: string): Promise<string> {
  const bin = `${directory}/ssh-bin`;
  await Deno.mkdir(bin);
  for (const program of ["ssh", "scp"]) {
    const path = await textOf("sh", "-c", `command -v ${program}`);
    await Deno.writeTextFile(`${bin}/${program}`, `#!/bin/sh\nexec ${path} -F "$HOME/.ssh/config" "$@"\n`, {
      mode: 0o755,
    });
  }
  return bin;
}

interface Place {
  readonly directory: string;
  readonly path: string;
}

async function runInShell(text: string, cwd: string, { path }: Place) {
  const child = new Deno.Command("timeout", {
    args: ["--kill-after=5", String(LOOSE_TIMEOUT_S), "bash", "-c", `set -eo pipefail; ${text}`],
    cwd,
    env: environment({ PATH: path, GIT_CONFIG_GLOBAL: "/dev/null" }),
    clearEnv: true,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  const typing = writer.write(new TextEncoder().encode(TYPED)).then(() => writer.close());
  typing.catch(() => {}); // a command need not read what is typed
  const { code, stdout, stderr } = await child.output();
  await typing.catch(() => {});
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

/** Ends it as its user would, once it has shown something. */
async function runUntilCtrlC(text: string, cwd: string): Promise<string> {
  const child = start(bangerArguments(text)[0]!, { cwd });
  const complaint = new Response(child.stderr).text();
  const reader = child.stdout.getReader();
  const { value } = await reader.read();
  try {
    child.kill("SIGINT");
  } catch (thrown) {
    if (!(thrown instanceof TypeError)) throw thrown; // it has ended by itself meanwhile
  }
  while (!(await reader.read()).done);
  await child.status;
  assert.ok(value !== undefined && value.length > 0, `${text} shows nothing\n${await complaint}`);
  return await complaint;
}

async function runCommand({ document, line, text, withVms }: ShownCommand, cwd: string, place: Place) {
  if (withVms === "until Ctrl-C") return void await runUntilCtrlC(text, cwd);
  const full = withVms === "agreed to" ? `${text} --yes` : text;
  // A port of the host's that the document chose may be taken here.
  const { code, stdout, stderr } = await runInShell(full.replace("8080:80", `${freePort()}:80`), cwd, place);
  const shown = `${document}:${line}: ${text}\nends with ${code}\n${stdout}\n${stderr}`;
  assert.equal(code, 0, shown);
  const expected = EXPECTED[text];
  if (expected) assert.match(stdout, expected, shown);
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return (listener.addr as Deno.NetAddr).port;
}

/** One after the other. What was run already, and leaves no trace, is not run again. */
async function runLane(commands: readonly ShownCommand[], place: Place): Promise<void> {
  const done = new Set<string>();
  let [block, cwd] = ["", place.directory];
  for (const command of commands) {
    if (command.block !== block) [block, cwd] = [command.block, place.directory];
    const directory = /^cd (\S+)$/.exec(command.text)?.[1];
    if (directory !== undefined) cwd = `${place.directory}/${directory}`;
    else if (!done.has(command.text)) await runCommand(command, cwd, place);
    if (command.text.includes(" --rm ")) done.add(command.text);
  }
}

/** README comes last: its VMs are removed at its end. */
async function shownCommands(): Promise<ShownCommand[]> {
  const shown: ShownCommand[] = [];
  const names = (await documentNames()).filter((name) => name !== "docs/cli.md");
  for (const name of names.toSorted((a, b) => Number(a === "README.md") - Number(b === "README.md"))) {
    shown.push(...commandsOf(name, await readDocument(name)).commands);
  }
  return shown.filter(({ withVms }) => withVms !== undefined);
}

Deno.test("documents: their commands with VMs do what they say", async () => {
  const commands = await shownCommands();
  assert.ok(commands.length > 40, `${commands.length} commands`);
  await using workshop = await openWorkshop();
  const image = await pushImages(workshop);
  const path = `${await sshOfThisHome(workshop.path)}:${BIN}:${Deno.env.get("PATH")}`;
  // One for each lane: what one takes out of a VM must not change under the other's reading.
  const [first, second] = await Promise.all(["first", "second"].map(async (name): Promise<Place> => {
    const directory = `${workshop.path}/${name}`;
    await Deno.mkdir(directory);
    await makeProject(directory);
    return { directory, path };
  }));
  await using _config = await replaced(
    CONFIG,
    `[defaults]\nimage = "${image}"\ncpus = 1\nmemory = "512M"\n
     [[registries.mirrors]]\nprefix = "docker.io"\nlocation = "${workshop.host}"\n`,
  );
  await using _ssh = await replaced(SSH_CONFIG, "");
  const before = await vmNames();
  await using _images = removingImage("documents-v1");
  await using _alpine = removingImage("alpine-3.20");
  await using _web = removing("web");
  await using _dev = removing("dev");
  await using _invented = {
    async [Symbol.asyncDispose]() {
      const left = (await vmNames()).filter((name) => !before.includes(name));
      for (const name of left) await banger(["vm", "rm", "--force", "--purge", name]);
    },
  };
  // Two at a time, as there are two processors: a paragraph that names `web`, with ssh's configuration, and the rest.
  const ofWeb = new Set(
    commands.filter(({ text }) => /\bweb\b|alpine|ssh-config/.test(text)).map(({ paragraph }) => paragraph),
  );
  const isFirst = ({ paragraph }: ShownCommand) => ofWeb.has(paragraph);
  const isOfReadme = ({ document }: ShownCommand) => document === "README.md";
  const lanes = await Promise.allSettled([
    (async () => {
      const ofFirst = commands.filter(isFirst);
      await runLane(ofFirst.filter((command) => !isOfReadme(command)), first!);
      // README makes its own of that name.
      await banger(["vm", "rm", "--force", "--purge", "web"]);
      await runLane(ofFirst.filter(isOfReadme), first!);
    })(),
    runLane(commands.filter((command) => !isFirst(command)), second!),
  ]);
  const failed = lanes.flatMap((lane) => lane.status === "rejected" ? [lane.reason] : []);
  if (failed.length > 0) throw new AggregateError(failed, failed.map(String).join("\n"));
  console.log(`documents: ${commands.length} commands run with VMs`);
});
