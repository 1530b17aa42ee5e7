/** `vm cp` both ways against a directory of this host, in which the host's busybox plays the guest's. */
import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { copy, type CopyEnd } from "../../../lib/copy/copy.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { openTreeWriter } from "../../../lib/sys/tree_writer.ts";
import { BUSYBOX, type GuestSession } from "../../../lib/workspace/guest.ts";

const host = realHost();
const busybox = await host.processes.which("busybox");
openTreeWriter("/")[Symbol.dispose]();

/** A command where the guest's would run, with its streams as the agent gives them. */
function start(directory: string) {
  return (argv: readonly string[]): Promise<GuestSession> => {
    const [program, ...args] = argv.map((word) => word.replaceAll(BUSYBOX, busybox!));
    const child = new Deno.Command(program!, {
      args,
      cwd: directory,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const stdin = child.stdin.getWriter();
    let hasEnded = false;
    const read = async (stream: ReadableStream<Uint8Array>, sink: (bytes: Uint8Array) => Promise<void>) => {
      for await (const chunk of stream) await sink(chunk);
    };
    return Promise.resolve({
      async finish(sink) {
        try {
          await Promise.all([read(child.stdout, sink.stdout), read(child.stderr, sink.stderr)]);
        } finally {
          if (!hasEnded) hasEnded = (await child.status).code >= 0;
        }
        return (await child.status).code;
      },
      writeStdin: (bytes) =>
        stdin.write(bytes.slice()).catch((cause) => {
          throw new BangerError("connection_failed", "gone", undefined, { cause });
        }),
      closeStdin: () => stdin.close().catch(() => {}),
      [Symbol.dispose]() {
        if (hasEnded) return;
        hasEnded = true;
        child.kill("SIGTERM");
        stdin.abort().catch(() => {});
      },
    });
  };
}

interface Ground extends AsyncDisposable {
  readonly outside: string;
  readonly inside: string;
  end(place: string): CopyEnd;
  cp(from: string, to: string, options?: { keepsOwners?: boolean }): Promise<void>;
}

async function ground(): Promise<Ground> {
  const root = await Deno.makeTempDir({ prefix: "banger-cp-" });
  const [outside, inside] = [`${root}/outside`, `${root}/inside`];
  await Promise.all([outside, inside].map((path) => Deno.mkdir(path)));
  const end = (place: string): CopyEnd =>
    place.startsWith("web:")
      ? { kind: "guest", vm: "web", path: place.slice(4) || ".", start: start(inside) }
      : { kind: "host", path: `${outside}/${place}`.replace(/\/$/, "") + (place.endsWith("/") ? "/" : "") };
  return {
    outside,
    inside,
    end,
    async cp(from, to, { keepsOwners = false } = {}) {
      const options = { keepsOwners, onProgress: () => {}, signal: new AbortController().signal };
      await copy({ ...host, openTreeWriter }, end(from), end(to), options);
    },
    async [Symbol.asyncDispose]() {
      await run(root, "chmod -R u+rwx . ; rm -rf inside outside");
      await Deno.remove(root, { recursive: true });
    },
  };
}

async function run(cwd: string, script: string): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command("bash", { args: ["-c", script], cwd }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

/** Everything that is to be kept, with names escaped. busybox keeps no times of directories and symlinks. */
const LIST =
  `find . -mindepth 1 -printf '%y %m %s %T@ %l %n ' -exec sh -c 'printf %s "$1" | od -An -tx1 | tr -d " \\n"' sh {} ';' -printf '\\n' |
  sed -E 's/^d ([0-9]+) [0-9]+ /d \\1 - /; s/(\\.[0-9]+)//; /^[dl]/s/ [0-9]{10} / /' | sort`;

const TREE = `umask 022; mkdir -p tree/sub/deep tree/empty; cd tree
printf 'a file\\n' >plain; printf x >sub/second; ln plain hard; ln -s plain link; ln -s ../outside dangling
chmod 750 sub; chmod 600 plain; printf '' >sub/deep/nothing
printf n >"$(printf 'invalid-\\xff\\xfe')"; printf n >$'new\\nline'; printf n >'-dash'; printf n >' space '
long=$(printf 'n%.0s' {1..200}); mkdir -p "$long/$long"; printf far >"$long/$long/file"; ln -s "$long/$long/file" longlink
dd if=/dev/urandom of=large bs=1M count=9 status=none
find . -exec touch -h -d '2020-02-03 04:05:06' {} +`;

const ignore = busybox === undefined;
if (ignore) console.log("skipped: this host has no busybox to play the guest's");

function test(name: string, act: (here: Ground) => Promise<void>): void {
  Deno.test({
    name,
    ignore,
    async fn() {
      await using here = await ground();
      await act(here);
    },
  });
}

test("a tree with names of any bytes comes into a guest and back as it was", async (here) => {
  await run(here.outside, TREE);
  const before = await run(`${here.outside}/tree`, LIST);
  assert.ok(before.split("\\n").length > 0 && before.includes("fffe"), before);
  await here.cp("tree", "web:copied");
  assert.equal(await run(`${here.inside}/copied`, LIST), before);
  await here.cp("web:copied", "back");
  assert.equal(await run(`${here.outside}/back`, LIST), before);
  await run(here.outside, "diff -r --no-dereference tree back");
  const times = (path: string) => run(path, "find . -printf '%P %T@\\n' | sed -E 's/\\.[0-9]+$//' | sort");
  assert.equal(await times(`${here.outside}/back`), await times(`${here.inside}/copied`));
  assert.deepEqual([...Deno.readDirSync(here.inside)].map(({ name }) => name), ["copied"]);
});

test("where it goes is as with cp -r", async (here) => {
  await run(
    here.outside,
    "mkdir -p tree/sub; echo 1 >tree/a; echo 2 >tree/sub/b; echo f >file; echo g >other",
  );
  await run(here.inside, "mkdir there");
  const inside = () => run(here.inside, "find . -mindepth 1 | sort | tr '\\n' ' '");
  await here.cp("file", "web:new");
  await here.cp("file", "web:there");
  await here.cp("file", "web:there/");
  await here.cp("tree", "web:there");
  await here.cp("tree", "web:renamed");
  await here.cp("tree/.", "web:there");
  await here.cp("tree/.", "web:contents");
  assert.equal(
    await inside(),
    "./contents ./contents/a ./contents/sub ./contents/sub/b ./new ./renamed ./renamed/a ./renamed/sub " +
      "./renamed/sub/b ./there ./there/a ./there/file ./there/sub ./there/sub/b ./there/tree ./there/tree/a " +
      "./there/tree/sub ./there/tree/sub/b ",
  );
  await here.cp("other", "web:new");
  assert.equal(await Deno.readTextFile(`${here.inside}/new`), "g\n");

  await here.cp("web:there", "out");
  await here.cp("web:there/file", "out");
  await here.cp("web:there/.", "out2");
  await here.cp("web:there/tree/.", "out2");
  await here.cp("web:new", "file");
  const outside = await run(here.outside, "find out out2 file | sort | tr '\\n' ' '; cat file");
  assert.match(
    outside,
    /^file out out\/a out\/file out\/sub out\/sub\/b out\/tree .* out2 out2\/a out2\/file /,
  );
  assert.match(outside, /g\n$/);
});

test("a tree is filled, not replaced, where it is there already", async (here) => {
  await run(here.outside, "mkdir -p tree/sub; echo new >tree/a; echo new >tree/sub/b");
  await run(
    here.inside,
    "mkdir -p tree/sub; echo old >tree/a; echo stays >tree/sub/c; ln -s /nowhere tree/sub/b",
  );
  await here.cp("tree", "web:.");
  assert.equal(await run(here.inside, "cat tree/a tree/sub/b tree/sub/c"), "new\nnew\nstays\n");
  await run(here.outside, "rm tree/a; echo mine >tree/mine; chmod 700 tree");
  await here.cp("web:tree", ".");
  assert.equal(
    await run(here.outside, "cat tree/a tree/sub/c tree/mine; stat -c %a tree"),
    "new\nstays\nmine\n700\n",
  );
});

for (
  const [from, to, code, message] of [
    ["nothing", "web:x", "not_found", /there is no such file/],
    ["web:nothing", "x", "not_found", /"web:nothing": there is no such file/],
    ["web:file/.", "x", "not_found", /there is no such directory/],
    ["file", "web:no/such/place", "not_found", /there is no such directory/],
    ["file", "web:no/", "not_found", /there is no such directory/],
    ["web:file", "no/such/place", "not_found", /there is no such directory/],
    ["web:file", "no/", "not_found", /there is no such directory/],
    ["tree", "web:file", "already_exists", /a file is there, and a directory comes/],
    ["web:tree", "file", "already_exists", /a file is there, and a directory comes/],
    ["file", "web:holder", "already_exists", /a directory of that name is there/],
    ["web:file", "holder", "already_exists", /a directory of that name is there/],
    ["file", "other", "invalid_argument", /neither end is in a VM/],
  ] as const
) {
  test(`banger vm cp ${from} ${to} is refused and changes nothing`, async (here) => {
    for (const side of [here.outside, here.inside]) {
      await run(side, "mkdir -p tree holder/file; echo a >tree/a; echo f >file");
    }
    const both = async () => await run(here.outside, LIST) + await run(here.inside, LIST);
    const before = await both();
    await assert.rejects(
      here.cp(from, to),
      (thrown) => {
        assert.ok(thrown instanceof BangerError);
        assert.match(thrown.message, message);
        return thrown.code === code;
      },
    );
    assert.equal(await both(), before);
  });
}

test("what cannot be read whole is not left half-written in the guest", async (here) => {
  await run(here.outside, "mkdir tree; head -c 3000000 /dev/zero >tree/a");
  const end = here.end("tree") as Extract<CopyEnd, { kind: "host" }>;
  // As if a file could not be read: tar tells so at its end.
  const pipe: typeof host.processes.pipe = async (command, signal) => {
    const tar = await host.processes.pipe(command, signal);
    return {
      ...tar,
      result: tar.result.then(() => ({ code: 2, stderr: "tar: tree/a: Cannot read: Input/output error" })),
    };
  };
  await assert.rejects(
    copy({ ...host, processes: { ...host.processes, pipe }, openTreeWriter }, end, here.end("web:new"), {
      keepsOwners: false,
      onProgress: () => {},
      signal: new AbortController().signal,
    }),
    /Cannot read all of .*Input\/output error/,
  );
  assert.deepEqual([...Deno.readDirSync(here.inside)], []);
});

test("an interrupted copy leaves nothing, either way", async (here) => {
  await run(here.outside, "head -c 40000000 /dev/zero >large");
  await run(here.inside, "head -c 40000000 /dev/zero >large");
  for (const [from, to] of [["large", "web:new"], ["web:large", "new"]] as const) {
    const ended = new AbortController();
    const onProgress = () => ended.abort(new BangerError("cancelled", "interrupted"));
    const copying = copy({ ...host, openTreeWriter }, here.end(from), here.end(to), {
      keepsOwners: false,
      onProgress,
      signal: ended.signal,
    });
    await assert.rejects(copying, (thrown) => thrown instanceof BangerError && thrown.code === "cancelled");
  }
  // The guest's shell learns of it by its input's end, and cleans up then.
  const names = () =>
    [here.inside, here.outside].map((side) => [...Deno.readDirSync(side)].map(({ name }) => name));
  const isClean = () => names().flat().every((name) => name === "large");
  for (let patience = 500; !isClean() && patience > 0; patience--) await host.clock.sleep(20);
  assert.deepEqual(names(), [["large"], ["large"]]);
});

test("from one guest into another, and as a tar on a stream", async (here) => {
  await run(here.inside, TREE);
  const before = await run(`${here.inside}/tree`, LIST);
  await here.cp("web:tree", "web:twin");
  assert.equal(await run(`${here.inside}/twin`, LIST), before);
  const parts: Uint8Array[] = [];
  const options = { keepsOwners: false, onProgress: () => {}, signal: new AbortController().signal };
  const stream = {
    kind: "stream",
    write: (bytes: Uint8Array) => Promise.resolve(void parts.push(bytes.slice())),
    read: async function* () {
      yield* parts;
    },
  } as const;
  await copy({ ...host, openTreeWriter }, here.end("web:tree"), stream, options);
  await Deno.mkdir(`${here.inside}/from-tar`);
  await copy({ ...host, openTreeWriter }, stream, here.end("web:from-tar"), options);
  assert.equal(await run(`${here.inside}/from-tar/tree`, LIST), before);
});

if (Deno.uid() !== 0) console.log("skipped: --archive keeps owners, whom only root may give files to");
Deno.test({
  name: "--archive keeps owners by their numbers, both ways; without it files are the copier's",
  ignore: ignore || Deno.uid() !== 0,
  async fn() {
    await using here = await ground();
    await run(here.outside, "mkdir tree; echo a >tree/a; chown -R 1234:2345 tree");
    const owners = (side: string, path: string) => run(side, `stat -c %u:%g ${path} ${path}/a | uniq`);
    await here.cp("tree", "web:kept", { keepsOwners: true });
    assert.equal(await owners(here.inside, "kept"), "1234:2345\n");
    await here.cp("tree", "web:mine");
    assert.equal(await owners(here.inside, "mine"), "0:0\n");
    await here.cp("web:kept", "kept", { keepsOwners: true });
    assert.equal(await owners(here.outside, "kept"), "1234:2345\n");
    await here.cp("web:kept", "mine");
    assert.equal(await owners(here.outside, "mine"), "0:0\n");
  },
});
