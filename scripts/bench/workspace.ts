/** A repository into a VM, and a file: against what people use for it today, into the same VM. */
import type { Benchmark } from "./benchmark.ts";
import { timedMs } from "./benchmark.ts";
import { BANGER, read, removing, run, showVm } from "./commands.ts";
import { startSshServer } from "./ssh_server.ts";

const VM = "bench-workspace";
const FILES = 5000;
const COMMITS = 500;
const COPY_BYTES = 100_000_000;
/** How the guest calls this host. */
const HOST_IN_GUEST = "10.0.2.2";

/** A repository of text files, with changes of every kind that were not committed. */
async function makeRepository(directory: string): Promise<void> {
  await run("git", ["init", "-q", "-b", "main", directory]);
  const child = new Deno.Command("git", {
    args: ["-C", directory, "fast-import", "--quiet"],
    stdin: "piped",
    stdout: "null",
  }).spawn();
  const writer = child.stdin.getWriter();
  const put = (text: string) => writer.write(new TextEncoder().encode(text));
  for (let commit = 0; commit < COMMITS; commit++) {
    const message = `commit ${commit}\n`;
    let text = `commit refs/heads/main\ncommitter Bench <bench@localhost> ${1_700_000_000 + commit} +0000\n` +
      `data ${message.length}\n${message}`;
    const changed = commit === 0 ? FILES : 10;
    for (let i = 0; i < changed; i++) {
      const file = commit === 0 ? i : (commit * 37 + i * 101) % FILES;
      const content = contentOf(file, commit);
      text += `M 100644 inline ${pathOf(file)}\ndata ${content.length}\n${content}\n`;
    }
    await put(text);
  }
  await writer.close();
  if (!(await child.status).success) throw new Error("git fast-import failed");
  await run("git", ["-C", directory, "reset", "-q", "--hard"]);
  for (let i = 0; i < 60; i++) {
    await Deno.writeTextFile(`${directory}/${pathOf(i * 80)}`, "changed\n", { append: true });
  }
  for (let i = 0; i < 10; i++) await Deno.remove(`${directory}/${pathOf(i * 80 + 1)}`);
  for (let i = 0; i < 20; i++) await Deno.writeTextFile(`${directory}/new-${i}`, contentOf(i, 0));
}

function pathOf(file: number): string {
  return `d${file % 50}/e${file % 7}/file${file}.txt`;
}

/** 2 to 6 KB of words that compress as text does. */
function contentOf(file: number, commit: number): string {
  let state = file * 7919 + commit + 1;
  const lines: string[] = [];
  for (let i = 0; i < 40 + file % 80; i++) {
    state = (state * 1103515245 + 12345) & 0x7fffffff;
    lines.push(`${state.toString(36)} the value of line ${i} in this file is ${state % 1000}`);
  }
  return `${lines.join("\n")}\n`;
}

interface Prepared extends AsyncDisposable {
  readonly repository: string;
  readonly directory: string;
  /** ssh's options for the VM; `-p` is scp's `-P`. */
  readonly ssh: readonly string[];
  readonly port: number;
  readonly cloneUrl: string;
  inside(script: string): Promise<string>;
}

async function prepareAll(): Promise<Prepared> {
  await using stack = new AsyncDisposableStack();
  const directory = await Deno.makeTempDir({ prefix: "banger-bench-workspace-" });
  stack.defer(() => Deno.remove(directory, { recursive: true }));
  const repository = `${directory}/repository`;
  await makeRepository(repository);
  const server = stack.use(await startSshServer(directory));
  const port = freePort();
  stack.use(removing(VM));
  await run(BANGER, [
    ...["vm", "create", "--name", VM, "--publish", `127.0.0.1:${port}:22`],
    ...["--allow-net", `${HOST_IN_GUEST}:${server.port}`],
  ]);
  const vm = await showVm(VM);
  const options = ["BatchMode=yes", "StrictHostKeyChecking=yes", `HostKeyAlias=${vm.ssh.hostKeyAlias}`];
  const ssh = [
    ...["-F", "none", "-i", vm.ssh.identityFile],
    ...[...options, `UserKnownHostsFile=${vm.ssh.knownHostsFile}`].flatMap((option) => ["-o", option]),
  ];
  const inside = (script: string) => read(BANGER, ["vm", "exec", VM, "--", "sh", "-ec", script]);
  const deadlineMs = performance.now() + 120_000;
  while (
    !(await run("ssh", [...ssh, "-p", String(port), "root@127.0.0.1", "true"]).then(() => true, () => false))
  ) {
    if (performance.now() > deadlineMs) throw new Error("no ssh server in the VM within two minutes");
  }
  await server.allow(
    await inside("ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/bench; cat /root/.ssh/bench.pub"),
  );
  const owned = stack.move();
  return {
    repository,
    directory,
    ssh,
    port,
    cloneUrl: `ssh://${server.user}@${HOST_IN_GUEST}:${server.port}${repository}`,
    inside,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  return port;
}

async function sendOurs({ repository, inside }: Prepared): Promise<number> {
  await inside("rm -rf /root/repo; sync");
  const elapsedMs = await timedMs(() =>
    run(BANGER, ["vm", "workspace", "prepare", VM, repository, "--discard", "-q"])
  );
  const status = await inside("cd /root/repo; git status --porcelain | wc -l");
  if (status.trim() !== "90") throw new Error(`git status in the VM has ${status.trim()} lines`);
  return elapsedMs;
}

async function cloneAndSync({ repository, ssh, port, cloneUrl, inside }: Prepared): Promise<number> {
  await inside("rm -rf /root/peer; sync");
  const guestSsh = "ssh -i /root/.ssh/bench -o StrictHostKeyChecking=no";
  const clone = `GIT_SSH_COMMAND='${guestSsh}' git clone -q --depth 1 ${cloneUrl} /root/peer`;
  return await timedMs(async () => {
    await run("ssh", [...ssh, "-p", String(port), "root@127.0.0.1", clone]);
    await run("rsync", [
      ...["-rlpt", "--delete", "--exclude=/.git", "-e", `ssh -p ${port} ${ssh.join(" ")}`],
      ...[`${repository}/`, "root@127.0.0.1:/root/peer/"],
    ]);
  });
}

async function copyAll({ repository, ssh, port, inside }: Prepared): Promise<number> {
  await inside("rm -rf /root/peer; sync");
  return await timedMs(() =>
    run("scp", ["-q", "-r", ...ssh, "-P", String(port), repository, "root@127.0.0.1:/root/peer"])
  );
}

function sending(
  name: string,
  peer: string,
  maxRatio: number,
  peerRun: (all: Prepared) => Promise<number>,
): Benchmark {
  return {
    name,
    summary: `\`banger vm workspace prepare\` of ${FILES} files and ${COMMITS} commits, against ${peer}`,
    maxRatio,
    runs: 3,
    async prepare() {
      const all = await prepareAll();
      return {
        pair: async () => ({ oursMs: await sendOurs(all), peerMs: await peerRun(all) }),
        [Symbol.asyncDispose]: () => all[Symbol.asyncDispose](),
      };
    },
  };
}

const copy: Benchmark = {
  name: "workspace-copy",
  summary: "`banger vm cp` of a file of 100 MB into a VM, against `scp`",
  maxRatio: 1 / 3,
  runs: 3,
  async prepare() {
    const all = await prepareAll();
    const file = `${all.directory}/file`;
    await run("sh", ["-c", `head -c ${COPY_BYTES} /dev/urandom >${file}`]);
    return {
      async pair() {
        await all.inside("rm -f /root/ours /root/peer; sync");
        return {
          oursMs: await timedMs(() => run(BANGER, ["vm", "cp", "-q", file, `${VM}:/root/ours`])),
          peerMs: await timedMs(() =>
            run("scp", ["-q", ...all.ssh, "-P", String(all.port), file, "root@127.0.0.1:/root/peer"])
          ),
        };
      },
      [Symbol.asyncDispose]: () => all[Symbol.asyncDispose](),
    };
  },
};

export const workspace: readonly Benchmark[] = [
  sending(
    "workspace-clone",
    "`git clone --depth 1` over ssh in the VM and `rsync` of the changes",
    1 / 3,
    cloneAndSync,
  ),
  sending("workspace-scp", "`scp -r`", 1 / 5, copyAll),
  copy,
];
