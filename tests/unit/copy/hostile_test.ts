/** What a guest may send to `vm cp`, and what never happens on the host. */
import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { copy } from "../../../lib/copy/copy.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { openTreeWriter } from "../../../lib/sys/tree_writer.ts";
import type { GuestSession } from "../../../lib/workspace/guest.ts";
import {
  archive,
  directory,
  file,
  gnuLong,
  hardLink,
  inPieces,
  member,
  pax,
  symlink,
} from "../oci/archive.ts";

// Loaded once, before any test: each must give back what it opens.
openTreeWriter("/")[Symbol.dispose]();

const HOST = { ...realHost(), openTreeWriter };

/** A guest whose tar is what the test says. */
function guest(sent: Uint8Array, { kind = "directory", code = 0, stderr = "" } = {}) {
  return (argv: readonly string[]): Promise<GuestSession> => {
    const isLook = argv[1] === "sh";
    return Promise.resolve({
      async finish(sink) {
        const said = isLook ? new TextEncoder().encode(`${kind}\n`) : sent;
        for await (const piece of inPieces(said, 1000)) await sink.stdout(piece);
        if (!isLook) await sink.stderr(new TextEncoder().encode(stderr));
        return isLook ? 0 : code;
      },
      writeStdin: () => Promise.resolve(),
      closeStdin: () => Promise.resolve(),
      [Symbol.dispose]() {},
    });
  };
}

interface Ground {
  /** Where the copy goes; nothing else of `root` may change. */
  readonly target: string;
  readonly root: string;
}

async function onGround(act: (ground: Ground) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "banger-cp-" });
  try {
    await Deno.mkdir(`${root}/here`);
    await Deno.mkdir(`${root}/outside`);
    await Deno.writeTextFile(`${root}/outside/secret`, "untouched", { mode: 0o600 });
    await act({ root, target: `${root}/here` });
    assert.deepEqual([...Deno.readDirSync(root)].map(({ name }) => name).sort(), ["here", "outside"]);
    assert.deepEqual([...Deno.readDirSync(`${root}/outside`)].map(({ name }) => name), ["secret"]);
    assert.equal(await Deno.readTextFile(`${root}/outside/secret`), "untouched");
    assert.equal((await Deno.stat(`${root}/outside/secret`)).mode! & 0o7777, 0o600);
    assert.equal((await Deno.stat(`${root}/outside/secret`)).nlink, 1);
    const left = [...Deno.readDirSync(`${root}/here`)].filter(({ name }) => name.startsWith(".banger-cp"));
    assert.deepEqual(left, [], "nothing staged is left");
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

function take(start: ReturnType<typeof guest>, path: string, from = "/src") {
  return copy(HOST, { kind: "guest", vm: "web", path: from, start }, { kind: "host", path }, {
    keepsOwners: false,
    onProgress: () => {},
    signal: new AbortController().signal,
  });
}

const TOP = directory("src/");

for (
  const [why, parts] of [
    ["an absolute name", [TOP, file("/etc/evil", "x")]],
    ["..", [TOP, file("src/../../outside/secret", "x")]],
    [".. at the end", [TOP, directory("src/..")]],
    ["a name that nobody asked for", [TOP, file("other", "x")]],
    ["a long name with ..", [TOP, gnuLong("L", `src/${"a/".repeat(80)}../../x`), file("short", "x")]],
    ["a pax name with ..", [TOP, pax({ path: "src/../../outside/secret" }), file("src/a", "x")]],
    ["a symlink, then a file through it", [
      TOP,
      symlink("src/link", "../../outside"),
      file("src/link/secret", "x"),
    ]],
    ["a symlink, then a directory of its name", [TOP, symlink("src/link", "/etc"), directory("src/link/")]],
    ["a symlink at the top, then a file through it", [symlink("src", "../outside"), file("src/secret", "x")]],
    ["a hard link to an absolute name", [TOP, hardLink("src/a", "/etc/passwd")]],
    ["a hard link with ..", [TOP, hardLink("src/a", "src/../../outside/secret")]],
    ["a hard link to a symlink", [TOP, symlink("src/l", "../../outside/secret"), hardLink("src/a", "src/l")]],
    ["a hard link through a symlink", [
      TOP,
      symlink("src/l", "../../outside"),
      hardLink("src/a", "src/l/secret"),
    ]],
    ["a hard link to nothing", [TOP, hardLink("src/a", "src/b")]],
    ["a file over a directory", [TOP, directory("src/a/"), file("src/a", "x")]],
    ["an archive that is cut off", [TOP, file("src/a", "x".repeat(2000)).subarray(0, 1000)]],
    ["garbage", [new Uint8Array(4096).fill(0x41)]],
    ["a huge claim", [TOP, member({ name: "src/a", size: 2 ** 33 - 1 })]],
  ] as const
) {
  Deno.test(`vm cp refuses ${why}, new and into a directory`, () =>
    onGround(async ({ target }) => {
      const sent = archive(...parts);
      await assert.rejects(take(guest(sent), `${target}/new`), BangerError);
      assert.deepEqual([...Deno.readDirSync(target)], []);
      await Deno.mkdir(`${target}/src`);
      await assert.rejects(take(guest(sent), target), BangerError);
    }));
}

Deno.test("an empty answer is no success", () =>
  onGround(async ({ target }) => {
    await assert.rejects(take(guest(archive()), `${target}/new`), /nothing came/);
    await assert.rejects(take(guest(new Uint8Array(0)), `${target}/new`), BangerError);
  }));

Deno.test("a symlink of an earlier copy is no way out for a later one", () =>
  onGround(async ({ target }) => {
    await take(guest(archive(TOP, symlink("src/link", "../../outside"))), target);
    assert.equal(await Deno.readLink(`${target}/src/link`), "../../outside");
    for (
      const parts of [[file("src/link/secret", "x")], [directory("src/link/"), file("src/link/secret", "x")]]
    ) {
      await assert.rejects(take(guest(archive(TOP, ...parts)), target), BangerError);
    }
    // A file that replaces the symlink replaces the symlink, not what it leads to.
    await take(guest(archive(TOP, file("src/link", "mine"))), target);
    assert.equal(await Deno.readTextFile(`${target}/src/link`), "mine");
  }));

Deno.test("devices and pipes are not made, setuid is dropped, links that lead out are counted", () =>
  onGround(async ({ target }) => {
    const received = await take(
      guest(archive(
        TOP,
        member({ name: "src/null", type: "3", major: 1, minor: 3 }),
        member({ name: "src/disk", type: "4", major: 8, minor: 0 }),
        member({ name: "src/pipe", type: "6" }),
        file("src/su", "x", { mode: 0o6755 }),
        symlink("src/out", "/etc/passwd"),
        symlink("src/up", "../x"),
        symlink("src/in", "su"),
      )),
      target,
    );
    assert.ok(received);
    const { files, symlinks, skipped, stripped, leaving } = received;
    assert.deepEqual({ files, symlinks, skipped, stripped, leaving }, {
      files: 1,
      symlinks: 3,
      skipped: 3,
      stripped: 1,
      leaving: 2,
    });
    assert.deepEqual([...Deno.readDirSync(`${target}/src`)].map(({ name }) => name).sort(), [
      "in",
      "out",
      "su",
      "up",
    ]);
    assert.equal((await Deno.stat(`${target}/src/su`)).mode! & 0o7777, 0o755);
  }));

Deno.test("what could not be read whole in the guest is not taken for whole", () =>
  onGround(async ({ target }) => {
    const start = guest(archive(TOP, file("src/a", "x")), {
      code: 1,
      stderr: "tar: b: \u001b[2JInput/output error",
    });
    await assert.rejects(take(start, `${target}/new`), (thrown) => {
      assert.ok(thrown instanceof BangerError && thrown.code === "guest_failed");
      assert.match(thrown.message, /Cannot read all of "web:\/src": the guest says "tar: b:/);
      assert.ok(!thrown.message.includes("\u001b"));
      return true;
    });
    assert.deepEqual([...Deno.readDirSync(target)], []);
  }));

Deno.test("a guest that sends a directory where a file was asked for, or the other way round, gets nowhere", () =>
  onGround(async ({ target }) => {
    await Deno.writeTextFile(`${target}/file`, "old");
    await assert.rejects(take(guest(archive(TOP), { kind: "other" }), `${target}/file`), BangerError);
    await assert.rejects(take(guest(archive(TOP)), `${target}/file`), /a file is there/);
    assert.equal(await Deno.readTextFile(`${target}/file`), "old");
    await Deno.mkdir(`${target}/dir`);
    await assert.rejects(
      take(guest(archive(file("src", "x")), { kind: "directory" }), `${target}/dir/.`),
      BangerError,
    );
  }));

Deno.test("modes that forbid are set last, and a failed copy of such a tree is cleaned up", () =>
  onGround(async ({ target }) => {
    const closed = directory("src/closed/", { mode: 0 });
    const inside = file("src/closed/a", "x", { mode: 0o400 });
    await take(guest(archive(TOP, closed, inside)), target);
    assert.equal((await Deno.stat(`${target}/src/closed`)).mode! & 0o7777, 0);
    await Deno.chmod(`${target}/src/closed`, 0o700);
    await assert.rejects(take(guest(archive(TOP, closed, inside, file("/x"))), `${target}/new`), BangerError);
  }));
