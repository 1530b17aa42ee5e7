import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { BangerError } from "../../../lib/base/errors.ts";
import type { Files } from "../../../lib/base/host.ts";
import type { HttpClient } from "../../../lib/base/http.ts";
import {
  findRelease,
  goBack,
  isInstalled,
  replaceExecutable,
  type UpgradeHost,
} from "../../../lib/cli/upgrade.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { scriptedHttp } from "../kernel/bundle_fixtures.ts";
import { inTemporaryDirectory, isBanger, NEVER, RecordedProgress } from "../kernel/support.ts";

const URL = "https://releases.test/1.2.3";
const text = new TextEncoder();
const sha256 = (content: string) => createHash("sha256").update(content).digest("hex");
const program = (version: string) => `#!/bin/sh\necho banger ${version}\n`;
const OLD = program("1.0.0");
const NEW = program("1.2.3");
const SUMS = `${"0".repeat(64)}  install.sh\n${sha256(NEW)}  banger-1.2.3-linux-x86_64\n${
  "1".repeat(64)
}  banger-1.2.3-linux-aarch64\n`;
const RELEASE = {
  version: "1.2.3",
  url: `${URL}/banger-1.2.3-linux-x86_64`,
  sha256: sha256(NEW),
};

function serving(files: Readonly<Record<string, string>>): HttpClient {
  return scriptedHttp(({ url }) => {
    const content = files[url.slice(URL.length + 1)];
    return content === undefined ? { status: 404 } : { body: text.encode(content) };
  });
}

interface Place {
  readonly host: UpgradeHost;
  readonly places: { executable: string; previous: string; architecture: string };
  readonly read: (path: string) => Promise<string>;
  /** Names beside the executable. */
  readonly names: () => Promise<string[]>;
}

async function withPlace(
  body: (place: Place) => Promise<void>,
  { change = (files) => files, served = { SHA256SUMS: SUMS, "banger-1.2.3-linux-x86_64": NEW } }: {
    change?: (files: Files) => Files;
    served?: Readonly<Record<string, string>>;
  } = {},
): Promise<void> {
  await inTemporaryDirectory(async (root) => {
    const directory = `${root}/my tools`;
    await Deno.mkdir(directory);
    const executable = `${directory}/banger`;
    await Deno.writeTextFile(executable, OLD, { mode: 0o755 });
    const host = realHost();
    await body({
      host: { ...host, files: change(host.files), http: serving(served) },
      places: { executable, previous: `${root}/state/previous/banger`, architecture: "x86_64" },
      read: (path) => Deno.readTextFile(path),
      names: async () => (await Array.fromAsync(Deno.readDir(directory))).map(({ name }) => name).sort(),
    });
  });
}

const upgrade = ({ host, places }: Place) =>
  replaceExecutable(host, places, RELEASE, new RecordedProgress(), NEVER);

Deno.test("an upgrade replaces the executable and keeps the one before; going back swaps them", () =>
  withPlace(async (place) => {
    const { host, places, read, names } = place;
    assert.deepEqual(await findRelease(host, `${URL}/`, "x86_64", undefined, NEVER), RELEASE);
    assert.equal(await isInstalled(host, places.executable, RELEASE.sha256), false);
    await upgrade(place);
    assert.equal(await read(places.executable), NEW);
    assert.equal(await read(places.previous), OLD);
    assert.equal((await Deno.stat(places.executable)).mode! & 0o777, 0o755);
    assert.equal(await isInstalled(host, places.executable, RELEASE.sha256), true);
    await goBack(host, places);
    assert.equal(await read(places.executable), OLD);
    await goBack(host, places);
    assert.equal(await read(places.executable), NEW);
    assert.deepEqual(await names(), ["banger"]);
  }));

Deno.test("findRelease() refuses what is no address, what lists nothing fit, what is too long", () =>
  withPlace(async ({ host }) => {
    const find = (url: string, version?: string, architecture = "x86_64") =>
      findRelease(host, url, architecture, version, NEVER);
    await assert.rejects(find("ftp://a.test"), isBanger("invalid_argument"));
    await assert.rejects(find(URL, "9.9.9"), isBanger("not_found", /lists no banger 9\.9\.9 for x86_64/));
    await assert.rejects(find(URL, undefined, "riscv64"), isBanger("not_found", /for riscv64/));
    await assert.rejects(find(`${URL}/elsewhere`), isBanger("source_unavailable", /404/));
    const endless = { ...host, http: scriptedHttp(() => ({ body: new Uint8Array(300_000).fill(97) })) };
    await assert.rejects(
      findRelease(endless, URL, "x86_64", undefined, NEVER),
      isBanger("corrupt_data", /sends more than 262144 bytes/),
    );
  }));

Deno.test("an upgrade whose download is another file, or does not run here, changes nothing", async () => {
  const broken = "#!/bin/sh\necho no glibc >&2\nexit 1\n";
  for (
    const [content, digest, code] of [
      ["something else", RELEASE.sha256, "corrupt_data"],
      [broken, sha256(broken), "host_unsupported"],
    ] as const
  ) {
    await withPlace(async ({ host, places, read, names }) => {
      const file = { ...RELEASE, sha256: digest };
      const replacing = replaceExecutable(host, places, file, new RecordedProgress(), NEVER);
      await assert.rejects(replacing, isBanger(code));
      assert.equal(await read(places.executable), OLD);
      assert.deepEqual(await names(), ["banger"]);
    }, { served: { "banger-1.2.3-linux-x86_64": content } });
  }
});

/** Its time passes as soon as somebody waits. */
function hastyClock() {
  const { clock } = realHost();
  let nowMs = 0;
  return {
    ...clock,
    monotonicMs: () => nowMs,
    sleep(ms: number, signal?: AbortSignal) {
      nowMs += ms;
      return clock.sleep(1, signal);
    },
  };
}

for (
  const [what, answer, code, message] of [
    [
      "hangs",
      { body: text.encode(NEW.slice(0, 5)), hangs: true },
      "source_unavailable",
      /sends nothing for 30 s/,
    ],
    [
      "redirects to plain http",
      { status: 302, headers: { location: "http://a.test/" } },
      "source_unavailable",
      /redirects to/,
    ],
    [
      "redirects in circles",
      { status: 302, headers: { location: `${URL}/SHA256SUMS` } },
      "source_unavailable",
      /more than 5 times/,
    ],
    ["ends early", { body: text.encode(NEW.slice(0, 5)) }, "corrupt_data", /SHA-256/],
    ["sends something else", { body: text.encode("<html>") }, "corrupt_data", /SHA-256/],
    ["refuses", { status: 503 }, "source_unavailable", /503/],
  ] as const
) {
  Deno.test(`an upgrade from a server that ${what} changes nothing, and says so`, () =>
    withPlace(async ({ host, places, read, names }) => {
      const bad = { ...host, clock: hastyClock(), http: scriptedHttp(() => answer) };
      const progress = new RecordedProgress();
      await assert.rejects(replaceExecutable(bad, places, RELEASE, progress, NEVER), isBanger(code, message));
      assert.equal(await read(places.executable), OLD);
      assert.deepEqual(await names(), ["banger"]);
      if (code !== "source_unavailable") return;
      await assert.rejects(findRelease(bad, URL, "x86_64", undefined, NEVER), isBanger(code, message));
    }));
}

for (
  const [what, error] of [
    ["full", new BangerError("no_space", "Cannot write: no space left on the disk")],
    ["read-only", new BangerError("permission_denied", "Cannot write: the filesystem is read-only")],
  ] as const
) {
  Deno.test(`an upgrade on a disk that is ${what} changes nothing, and says so`, async () => {
    const refuse = () => Promise.reject(error);
    for (const call of ["open", "rename"] as const) {
      await withPlace(async (place) => {
        await assert.rejects(upgrade(place), isBanger(error.code));
        assert.equal(await place.read(place.places.executable), OLD);
        assert.deepEqual(await place.names(), ["banger"]);
      }, { change: (files) => ({ ...files, [call]: refuse }) });
    }
  });
}

Deno.test("going back without an earlier one says what to do", () =>
  withPlace(async ({ host, places }) => {
    await assert.rejects(goBack(host, places), isBanger("not_found", /no earlier banger/));
  }));

/** Changes of the file system happen while it lives, then all fail: what a kill at that point leaves. */
function dyingAfter(isAlive: () => boolean, files: Files): Files {
  const mortal = <Args extends unknown[], T>(act: (...args: Args) => Promise<T>) => (...args: Args) =>
    isAlive() ? act(...args) : Promise.reject(new Error("killed"));
  return {
    ...files,
    open: mortal(files.open),
    rename: mortal(files.rename),
    remove: mortal(files.remove),
    setMode: mortal(files.setMode),
    makeDirectory: mortal(files.makeDirectory),
  };
}

Deno.test("an upgrade that is killed at any step leaves a whole executable, and the next one cleans up", async () => {
  let finished = 0;
  for (let count = 0; count < 20; count++) {
    let left = count;
    await withPlace(async (place) => {
      const { places, read, names, host } = place;
      const outcome = await upgrade(place).then(() => "done", () => "killed");
      assert.ok([OLD, NEW].includes(await read(places.executable)), `after ${count} steps`);
      if (outcome === "done") finished++;
      const survivor = { ...host, files: realHost().files };
      await replaceExecutable(survivor, places, RELEASE, new RecordedProgress(), NEVER);
      assert.equal(await read(places.executable), NEW);
      assert.deepEqual(await names(), ["banger"]);
    }, { change: (files) => dyingAfter(() => left-- > 0, files) });
  }
  assert.ok(finished > 0 && finished < 15, `${finished} of 20 came to their end`);
});

Deno.test("going back that is killed at any step leaves a whole executable, and the next upgrade cleans up", async () => {
  let finished = 0;
  for (let count = 0; count < 20; count++) {
    let left = Infinity;
    await withPlace(async (place) => {
      const { host, places, read, names } = place;
      await upgrade(place);
      left = count;
      const outcome = await goBack(host, places).then(() => "done", () => "killed");
      left = Infinity;
      assert.ok([OLD, NEW].includes(await read(places.executable)), `after ${count} steps`);
      assert.ok([OLD, NEW].includes(await read(places.previous)), `after ${count} steps`);
      if (outcome === "done") finished++;
      await upgrade(place);
      assert.equal(await read(places.executable), NEW);
      assert.deepEqual(await names(), ["banger"]);
    }, { change: (files) => dyingAfter(() => left-- > 0, files) });
  }
  assert.ok(finished > 0 && finished < 15, `${finished} of 20 came to their end`);
});
