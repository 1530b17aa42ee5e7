/**
 * A workspace without a machine: the guest is a directory, where the host's busybox and git run what the real
 * guest would. Everything between is the real thing.
 */
import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import type { Host } from "../../../lib/base/host.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { openTree } from "../../../lib/sys/tree_reader.ts";
import { openTreeWriter } from "../../../lib/sys/tree_writer.ts";
import type { GuestSession, SendArchive, StartInGuest } from "../../../lib/workspace/guest.ts";
import type { PlanRequest } from "../../../lib/workspace/plan.ts";
import { Workspaces } from "../../../lib/workspace/workspaces.ts";

// The C library stays open for good: here, and not inside a test that would be blamed for it.
openTree("/")[Symbol.dispose]();

export const VM = { id: "0123456789ab", name: "test" };

export interface Bench extends AsyncDisposable {
  readonly directory: string;
  /** The user's repository; `git init` was done. */
  readonly repository: string;
  /** The guest's /root/repo. */
  readonly inside: string;
  readonly workspaces: Workspaces;
  readonly start: StartInGuest;
  /** Plans, stages and sends. */
  send(request?: Partial<PlanRequest>): Promise<void>;
}

/** git as a user runs it, with an identity and no configuration of this host's. */
export async function git(cwd: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command("git", {
    args: ["-c", "protocol.file.allow=always", ...args],
    cwd,
    env: GIT_ENVIRONMENT,
    clearEnv: true,
  }).output();
  assert.equal(code, 0, `git ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder("latin1").decode(stdout);
}

const GIT_ENVIRONMENT = {
  PATH: Deno.env.get("PATH") ?? "",
  HOME: "/nonexistent",
  LC_ALL: "C",
  GIT_CONFIG_NOSYSTEM: "1",
  GIT_CONFIG_GLOBAL: "/dev/null",
  GIT_AUTHOR_DATE: "2024-01-01T00:00:00Z",
  GIT_COMMITTER_DATE: "2024-01-01T00:00:00Z",
};

/** @param script runs in the repository instead of the git that writes the guest's work there */
function pipeOf(
  { processes }: Host,
  script: string | undefined,
  repository: string,
): Host["processes"]["pipe"] {
  return (command, ...rest) => {
    const { args } = command;
    const isWriting = args.includes("read-tree") && args.includes("-u") && !args.includes("-n");
    if (script === undefined || !isWriting) return processes.pipe(command, ...rest);
    return processes.pipe({ program: "sh", args: ["-c", script], cwd: repository }, ...rest);
  };
}

export async function makeBench(
  options: {
    init?: readonly string[];
    guestPath?: string;
    insteadOfWriting?: string;
    /** Else as a file. */
    comesAsStdin?: boolean;
  } = {},
): Promise<Bench> {
  const directory = await Deno.makeTempDir({ prefix: "banger-workspace-" });
  const repository = `${directory}/outside`;
  const home = `${directory}/guest`;
  await Deno.mkdir(home);
  await git("/", "init", "-q", "-b", "main", ...(options.init ?? []), repository);
  await git(repository, "config", "user.name", 'Ünsal "Q" \\ #;');
  await git(repository, "config", "user.email", "u@example.org");
  const start = localGuest(home, options.guestPath);
  const host = realHost();
  const workspaces = new Workspaces({
    ...host,
    processes: { ...host.processes, pipe: pipeOf(host, options.insteadOfWriting, repository) },
    openTree,
    openTreeWriter,
    gitEnvironment: {
      PATH: Deno.env.get("PATH") ?? "",
      HOME: "/nonexistent",
      GIT_CONFIG_GLOBAL: "/dev/null",
    },
    stagingDirectory: `${directory}/staging`,
    exportsDirectory: `${directory}/exports`,
    directoryOf: (id) => `${directory}/${id}`,
    guestHome: home,
  });
  return {
    directory,
    repository,
    inside: `${home}/repo`,
    workspaces,
    start,
    async send(request = {}) {
      const plan = await workspaces.plan({ path: repository, ...request });
      assert.ok(plan, "it is in a repository");
      await using _closing = plan;
      const staged = await workspaces.stage(plan);
      try {
        await workspaces.send(staged, VM.id, start, options.comesAsStdin ? undefined : sendHere);
      } catch (failure) {
        await workspaces.discard(staged);
        throw failure;
      }
    },
    [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }),
  };
}

/** As the agent writes a file: it has its name once it is whole. */
export const sendHere: SendArchive = async (path, content) => {
  const stage = `${path}.stage`;
  try {
    await Deno.writeFile(stage, ReadableStream.from(content()), { mode: 0o600, createNew: true });
    await Deno.rename(stage, path);
    return true;
  } catch (failure) {
    await Deno.remove(stage).catch(() => {}); // it may not have been made
    throw failure;
  }
};

/** Runs what would run in a guest, here, with the host's busybox for the guest's. */
function localGuest(home: string, path = GIT_ENVIRONMENT.PATH): StartInGuest {
  return async (argv) => {
    const child = new Deno.Command(await findBusybox(), {
      args: [...argv.slice(1)],
      cwd: "/",
      env: {
        ...GIT_ENVIRONMENT,
        PATH: path,
        HOME: home,
        GIT_CONFIG_SYSTEM: `${home}/system.gitconfig`,
        GIT_CONFIG_NOSYSTEM: "0",
      },
      clearEnv: true,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const writer = child.stdin.getWriter();
    const hasEnded = () => new BangerError("connection_failed", "Cannot send to the command: it has ended");
    let isOpen = true;
    return {
      async finish(sink) {
        const pass = async (from: ReadableStream<Uint8Array>, to: (bytes: Uint8Array) => Promise<void>) => {
          for await (const chunk of from) await to(chunk);
        };
        await Promise.all([pass(child.stdout, sink.stdout), pass(child.stderr, sink.stderr)]);
        const { code } = await child.status;
        if (isOpen) await writer.abort().catch(() => {});
        isOpen = false;
        return code;
      },
      writeStdin: (bytes) =>
        writer.write(bytes.slice()).catch(() => {
          throw hasEnded();
        }),
      async closeStdin() {
        isOpen = false;
        await writer.close().catch(() => {
          throw hasEnded();
        });
      },
      [Symbol.dispose]() {
        // What it has started reads the end: an agent would end all of its group.
        writer.abort().catch(() => {});
        isOpen = false;
        try {
          child.kill("SIGKILL");
        } catch (thrown) {
          if (!(thrown instanceof TypeError)) throw thrown; // it has ended
        }
      },
    } satisfies GuestSession;
  };
}

async function findBusybox(): Promise<string> {
  for (const path of ["/bin/busybox", "/usr/bin/busybox"]) {
    if (await Deno.stat(path).then(({ isFile }) => isFile, () => false)) return path;
  }
  throw new Error("this host has no busybox: install busybox-static");
}

/** Every file below a directory but `.git`, with type, mode and content: what must be equal. */
export async function listTree(directory: string): Promise<string[]> {
  const script = `cd "$1" && find . -name .git -prune -o ! -type d -print0 | sort -z |
    while IFS= read -r -d '' f; do
      if [ -L "$f" ]; then printf '%q -> %q\\n' "$f" "$(readlink "$f"; echo x)"
      else printf '%q %s %s\\n' "$f" "$(stat -c %a "$f")" "$(sha1sum <"$f")"; fi
    done`;
  const { code, stdout, stderr } = await new Deno.Command("bash", {
    args: ["-c", script, "bash", directory],
    env: { LC_ALL: "C" },
  }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  return new TextDecoder("latin1").decode(stdout).split("\n");
}

/** Runs a shell script in a directory: for names that no string of ours can hold. */
export async function shell(cwd: string, script: string): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command("bash", {
    args: ["-ec", script],
    cwd,
    env: GIT_ENVIRONMENT,
    clearEnv: true,
  }).output();
  assert.equal(code, 0, `${script}\n${new TextDecoder().decode(stderr)}`);
  return new TextDecoder("latin1").decode(stdout);
}
