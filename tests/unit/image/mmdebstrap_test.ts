import assert from "node:assert/strict";
import { BangerError, type ErrorCode } from "../../../lib/base/errors.ts";
import type { CommandLine, Files, PipedProcess, Processes } from "../../../lib/base/host.ts";
import { debianBookwormRoot } from "../../../lib/image/recipes/debian_bookworm.ts";
import { mmdebstrapCommand, withMmdebstrap } from "../../../lib/image/recipes/mmdebstrap.ts";

const ROOT = debianBookwormRoot(["deb http://mirror.example/debian bookworm main"]);
const NEVER = new AbortController().signal;

/** A host whose answers the test chooses; what it does not name cannot be called. */
interface FakeHost {
  readonly uid: string;
  readonly programs: readonly string[];
  readonly unshareCode?: number;
  readonly files?: Readonly<Record<string, string>>;
  readonly process?: { chunks: string[]; code: number; stderr: string };
}

function fakeHost(fake: FakeHost) {
  const started: CommandLine[] = [];
  const processes = {
    which: (program: string) =>
      Promise.resolve(fake.programs.includes(program) ? `/bin/${program}` : undefined),
    run: ({ program, args }: CommandLine) => {
      if (program === "unshare") {
        return Promise.resolve({ code: fake.unshareCode ?? 0, stdout: "", stderr: "" });
      }
      assert.equal(program, "id");
      const stdout = args[0] === "-un" ? "ann\n" : `${fake.uid}\n`;
      return Promise.resolve({ code: 0, stdout, stderr: "" });
    },
    pipe: (command: CommandLine): Promise<PipedProcess> => {
      started.push(command);
      const { chunks, code, stderr } = fake.process ?? { chunks: ["tar"], code: 0, stderr: "" };
      const stdout = ReadableStream.from(
        chunks.map((chunk) => new Uint8Array(new TextEncoder().encode(chunk))),
      );
      return Promise.resolve({ stdout, result: Promise.resolve({ code, stderr }) });
    },
  };
  const files = {
    stat: (path: string) => Promise.resolve(fake.files?.[path] === undefined ? undefined : { kind: "file" }),
    readText: (path: string) => Promise.resolve(fake.files![path]!),
  };
  return {
    host: { processes: processes as unknown as Processes, files: files as unknown as Files },
    started,
  };
}

async function readAll(archive: AsyncIterable<Uint8Array>): Promise<string> {
  let text = "";
  for await (const chunk of archive) text += new TextDecoder().decode(chunk);
  return text;
}

/** In a session of its own: mmdebstrap signals its whole process group. */
function assertStarted(started: readonly CommandLine[], mode: "root" | "unshare"): void {
  const { program, args, env } = mmdebstrapCommand(ROOT, mode);
  assert.equal(started.length, 1);
  assert.equal(started[0]!.program, "setsid");
  assert.deepEqual(started[0]!.args.slice(3), ["sh", program, ...args]);
  assert.deepEqual(started[0]!.env, env);
}

Deno.test("withMmdebstrap() runs as root where banger is root, and hands over the archive", async () => {
  const { host, started } = fakeHost({ uid: "0", programs: ["mmdebstrap"] });
  assert.equal(await withMmdebstrap(host, ROOT, NEVER, readAll), "tar");
  assertStarted(started, "root");
});

Deno.test("withMmdebstrap() runs in a user namespace elsewhere", async () => {
  const { host, started } = fakeHost({
    uid: "1000",
    programs: ["mmdebstrap", "newuidmap"],
    files: { "/etc/subuid": "bob:1:2\nann:100000:65536\n", "/etc/subgid": "1000:100000:65536\n" },
  });
  await withMmdebstrap(host, ROOT, NEVER, readAll);
  assertStarted(started, "unshare");
});

Deno.test("mmdebstrapCommand() asks for one tar on stdout from the host's mirrors, dated the same each time", () => {
  const { program, args, env } = mmdebstrapCommand(ROOT, "unshare");
  assert.equal(program, "mmdebstrap");
  assert.deepEqual(args.slice(0, 3), ["--mode=unshare", "--variant=apt", "--format=tar"]);
  assert.deepEqual(args.slice(-3), ["bookworm", "-", "deb http://mirror.example/debian bookworm main"]);
  for (const name of ["systemd-sysv", "openssh-server", "git", "curl", "tmux"]) {
    assert.match(args[3]!, new RegExp(`[=,]${name}(,|$)`));
  }
  assert.match(env!.SOURCE_DATE_EPOCH!, /^\d+$/);
});

const SUBIDS = { "/etc/subuid": "ann:100000:65536\n", "/etc/subgid": "ann:100000:65536\n" };
const REFUSED: [string, FakeHost, ErrorCode, RegExp][] = [
  ["a missing mmdebstrap", { uid: "0", programs: [] }, "missing_tool", /apt install mmdebstrap/],
  ["a missing newuidmap", { uid: "1000", programs: ["mmdebstrap"] }, "missing_tool", /apt install uidmap/],
  [
    "a host without user namespaces",
    { uid: "1000", programs: ["mmdebstrap", "newuidmap"], unshareCode: 1, files: SUBIDS },
    "host_unsupported",
    /sysctl/,
  ],
  [
    "a user without subordinate ids",
    {
      uid: "1000",
      programs: ["mmdebstrap", "newuidmap"],
      files: { ...SUBIDS, "/etc/subuid": "annabel:1:2\n" },
    },
    "host_unsupported",
    /usermod --add-subuids/,
  ],
  [
    "a host without /etc/subgid",
    { uid: "1000", programs: ["mmdebstrap", "newuidmap"], files: { "/etc/subuid": "ann:1:2\n" } },
    "host_unsupported",
    /usermod --add-subuids/,
  ],
];
for (const [what, fake, code, hint] of REFUSED) {
  Deno.test(`withMmdebstrap() refuses ${what} before it starts, with what to do`, async () => {
    const { host, started } = fakeHost(fake);
    await assert.rejects(withMmdebstrap(host, ROOT, NEVER, readAll), (thrown) => {
      assert.ok(thrown instanceof BangerError);
      assert.equal(thrown.code, code);
      assert.match(thrown.hint ?? "", hint);
      return true;
    });
    assert.deepEqual(started, []);
  });
}

Deno.test("withMmdebstrap() shows mmdebstrap's own last errors, without escape sequences", async () => {
  const { host } = fakeHost({
    uid: "0",
    programs: ["mmdebstrap"],
    process: { chunks: [], code: 25, stderr: "I: starting\nE: no \u001b[2J mirror\nI: bye\n" },
  });
  await assert.rejects(withMmdebstrap(host, ROOT, NEVER, readAll), (thrown) => {
    assert.ok(thrown instanceof BangerError);
    assert.equal(thrown.code, "source_unavailable");
    assert.equal(
      thrown.message,
      "Cannot make a Debian root filesystem: mmdebstrap failed with code 25\nE: no [2J mirror",
    );
    return true;
  });
});

Deno.test("withMmdebstrap() blames the process, not the archive, where its output is cut short", async () => {
  const { host } = fakeHost({
    uid: "0",
    programs: ["mmdebstrap"],
    process: { chunks: ["ta"], code: 1, stderr: "E: killed\n" },
  });
  const read = async (archive: AsyncIterable<Uint8Array>) => {
    if (await readAll(archive) !== "tar") throw new BangerError("corrupt_data", "the archive is cut short");
  };
  await assert.rejects(withMmdebstrap(host, ROOT, NEVER, read), /E: killed/);
});

Deno.test("withMmdebstrap() blames the disk, not the process, where reading stops by itself", async () => {
  const { host } = fakeHost({
    uid: "0",
    programs: ["mmdebstrap"],
    process: { chunks: ["a", "b"], code: 141, stderr: "E: tar failed\n" },
  });
  const read = async (archive: AsyncIterable<Uint8Array>) => {
    for await (const _ of archive) throw new BangerError("no_space", "the disk is full");
  };
  await assert.rejects(withMmdebstrap(host, ROOT, NEVER, read), /the disk is full/);
});
