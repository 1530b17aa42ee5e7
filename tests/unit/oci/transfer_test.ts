import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import type { HttpRequest } from "../../../lib/base/http.ts";
import { digestOf } from "../../../lib/oci/model/digest.ts";
import type { CredentialFinder } from "../../../lib/oci/registry/credentials.ts";
import { libc } from "../../../lib/sys/libc.ts";
import { archive, file } from "./archive.ts";
import { rejectsWith } from "./replayed.ts";
import { type Answer, imageOf, REGISTRY, REPOSITORY, scriptedWorld, serveImage } from "./scripted.ts";

// Opened once and for good by whoever locks a file first: here, so that no test seems to leak it.
libc();

const LAYER = archive(file("f", "x".repeat(20_000)));
const IMAGE = imageOf([LAYER]);
const TREE = { f: "x".repeat(20_000) };
const BLOB = `${REPOSITORY}/blobs/${digestOf(LAYER)}`;

const BASIC: CredentialFinder = {
  find: (registry) =>
    Promise.resolve(
      registry === "registry.test" ? { kind: "basic", username: "user", password: "secret" } : undefined,
    ),
};

for (
  const [status, retryAfter, waits] of [
    [429, "3", [3000]],
    [429, "7200", [60_000]],
    [429, "Tue, 14 Nov 2023 22:13:30 GMT", [10_000]],
    [429, undefined, [250]],
    [429, "soon", [250]],
    [503, undefined, [250]],
  ] as const
) {
  Deno.test(`429: after ${status} with Retry-After ${retryAfter} it waits ${waits} ms`, async () => {
    await using world = await scriptedWorld();
    serveImage(world.http, IMAGE);
    const headers = retryAfter === undefined ? {} : { "retry-after": retryAfter };
    world.http.on(BLOB, (_, count) => count === 1 ? { status, headers, body: "busy" } : { body: LAYER });
    assert.deepEqual(await world.pull(), TREE);
    assert.deepEqual(world.clock.slept, waits);
    await world.assertClean();
  });
}

Deno.test("429: it gives up after five times, having waited longer each time", async () => {
  await using world = await scriptedWorld();
  world.http.on(`${REPOSITORY}/manifests/t`, { status: 429, body: "busy" });
  await rejectsWith(world.pull(), "source_unavailable", /answered 429 5 times/);
  assert.deepEqual(world.clock.slept, [250, 500, 1000, 2000]);
  await world.assertClean();
});

/** Answers with a part of the layer from where it was asked. */
const rangeOf = (request: HttpRequest) =>
  Number(/^bytes=(\d+)-$/.exec(request.headers?.["range"] ?? "bytes=0-")![1]);

/** @returns from where it was asked, each time */
function serveFrom(
  { http }: Awaited<ReturnType<typeof scriptedWorld>>,
  answer: (start: number, count: number) => Answer,
): number[] {
  const starts: number[] = [];
  http.on(BLOB, (request, count) => {
    const start = rangeOf(request);
    starts.push(start);
    return answer(start, count);
  });
  return starts;
}

/** The layer from there on, as a server gives it. */
function layerFrom(start: number): Answer {
  const headers = { "content-range": `bytes ${start}-${LAYER.length - 1}/${LAYER.length}` };
  return start === 0 ? { body: LAYER } : { status: 206, headers, body: LAYER.slice(start) };
}

Deno.test("Resume: a broken download goes on where it broke", async () => {
  await using world = await scriptedWorld();
  serveImage(world.http, IMAGE);
  const starts = serveFrom(
    world,
    (start, count) => count < 4 ? { ...layerFrom(start), breakAfter: 3000 } : layerFrom(start),
  );
  assert.deepEqual(await world.pull(), TREE);
  assert.deepEqual(starts, [0, 3000, 6000, 9000]);
  await world.assertClean();
});

const SILENCE = new BangerError(
  "source_unavailable",
  "Cannot read from registry.test: it sent nothing for 60 s",
);

Deno.test("Resume: a server that goes silent inside a layer is asked for the rest", async () => {
  await using world = await scriptedWorld();
  serveImage(world.http, IMAGE);
  const starts = serveFrom(
    world,
    (start, count) =>
      count === 1 ? { ...layerFrom(start), breakAfter: 3000, breakWith: SILENCE } : layerFrom(start),
  );
  assert.deepEqual(await world.pull(), TREE);
  assert.deepEqual(starts, [0, 3000]);
  await world.assertClean();
});

Deno.test("Resume: a server that is silent again and again is given up", async () => {
  await using world = await scriptedWorld();
  serveImage(world.http, IMAGE);
  let asked = 0;
  world.http.on(BLOB, () => {
    asked++;
    return { body: LAYER, breakAfter: 0, breakWith: SILENCE };
  });
  await rejectsWith(
    world.pull(),
    "source_unavailable",
    /ended after 0 of \d+ bytes .*it sent nothing for 60 s/,
  );
  assert.equal(asked, 5);
  await world.assertClean();
});

Deno.test("Resume: where the whole comes again, it begins again", async () => {
  await using world = await scriptedWorld();
  serveImage(world.http, IMAGE);
  world.http.on(BLOB, (_, count) => count < 3 ? { body: LAYER, breakAfter: 5000 * count } : { body: LAYER });
  assert.deepEqual(await world.pull(), TREE);
  await world.assertClean();
});

for (
  const range of [
    "bytes 0-99/100",
    `bytes 2999-${LAYER.length - 1}/${LAYER.length}`,
    "bytes 3000-4000/*",
    "",
    "junk",
  ]
) {
  Deno.test(`Resume: the Content-Range ${JSON.stringify(range)} is refused`, async () => {
    await using world = await scriptedWorld();
    serveImage(world.http, IMAGE);
    world.http.on(
      BLOB,
      (_, count) =>
        count === 1
          ? { body: LAYER, breakAfter: 3000 }
          : { status: 206, headers: { "content-range": range }, body: LAYER.slice(3000) },
    );
    await rejectsWith(world.pull(), "corrupt_data", /sent another part/);
    await world.assertClean();
  });
}

Deno.test("Resume: a part that is wrong makes the digest of the whole wrong", async () => {
  await using world = await scriptedWorld();
  serveImage(world.http, IMAGE);
  world.http.on(BLOB, (_, count) =>
    count === 1 ? { body: LAYER, breakAfter: 3000 } : {
      status: 206,
      headers: { "content-range": `bytes 3000-${LAYER.length - 1}/${LAYER.length}` },
      body: LAYER.slice(3000).fill(1, 0, 5),
    });
  await rejectsWith(world.pull(), "corrupt_data", /digest|content/);
  await world.assertClean();
});

Deno.test("Resume: a registry that gives nothing is left after five times", async () => {
  await using world = await scriptedWorld();
  serveImage(world.http, IMAGE);
  world.http.on(BLOB, { body: LAYER, breakAfter: 0 });
  await rejectsWith(world.pull(), "source_unavailable", /ended after 0 of/);
  assert.equal(world.http.requests.filter(({ url }) => url === BLOB).length, 5);
  await world.assertClean();
});

const MIRRORS = {
  mirrors: [
    { prefix: "registry.test", location: "general.test" },
    { prefix: "registry.test/a", location: "mirror.test:5000/cache/a" },
  ],
};
const MIRROR = "https://mirror.test:5000/v2/cache/a/b";

Deno.test("Mirrors: the longest prefix is asked first, and never gets the registry's credentials", async () => {
  await using world = await scriptedWorld({ settings: MIRRORS, credentials: BASIC });
  serveImage(world.http, IMAGE, { base: MIRROR });
  assert.deepEqual(await world.pull(), TREE);
  assert(world.http.requests.every(({ url }) => url.startsWith(MIRROR)));
  world.http.on(`${MIRROR}/manifests/t`, { status: 401, headers: { "www-authenticate": "Basic realm=x" } });
  serveImage(world.http, IMAGE);
  assert.deepEqual(await world.pull(), TREE);
  for (const { url, headers } of world.http.requests) {
    if (!url.startsWith(REGISTRY)) assert.equal(headers?.["authorization"], undefined);
  }
});

Deno.test("Mirrors: what a mirror lacks or has wrong comes from the next, and digests are checked", async () => {
  await using world = await scriptedWorld({ settings: MIRRORS });
  serveImage(world.http, IMAGE);
  const { digest } = serveImage(world.http, IMAGE);
  world.http.on(`${MIRROR}/manifests/${digest}`, { body: `{"schemaVersion":2}` });
  assert.deepEqual(await world.pull(`registry.test/a/b@${digest}`), TREE);
  const hosts = new Set(world.http.requests.map(({ url }) => new URL(url).host));
  assert.deepEqual([...hosts], ["mirror.test:5000", "general.test", "registry.test"]);
  await world.assertClean();
});

for (
  const [name, base] of [
    ["localhost:5000/a/b:t", "http://localhost:5000/v2/a/b"],
    ["127.0.0.1:5000/a/b:t", "http://127.0.0.1:5000/v2/a/b"],
    ["[::1]:5000/a/b:t", "http://[::1]:5000/v2/a/b"],
    ["plain.test:5000/a/b:t", "http://plain.test:5000/v2/a/b"],
    ["registry.test/a/b:t", "https://registry.test/v2/a/b"],
    ["10.0.0.1:5000/a/b:t", "https://10.0.0.1:5000/v2/a/b"],
    ["alpine", "https://registry-1.docker.io/v2/library/alpine"],
  ] as const
) {
  Deno.test(`Insecure: ${name} is asked at ${base}`, async () => {
    await using world = await scriptedWorld({ settings: { insecureHosts: ["plain.test:5000"] } });
    serveImage(world.http, IMAGE, { base, tag: name === "alpine" ? "latest" : "t" });
    assert.deepEqual(await world.pull(name), TREE);
    assert(world.http.requests.every(({ url }) => url.startsWith(base)));
  });
}

Deno.test("Insecure: a registry that does not speak https is never asked over http instead", async () => {
  await using world = await scriptedWorld();
  serveImage(world.http, IMAGE, { base: REPOSITORY.replace("https:", "http:") });
  world.http.on(`${REPOSITORY}/manifests/t`, () => {
    throw new BangerError("source_unavailable", "Cannot reach it: no TLS");
  });
  await rejectsWith(world.pull(), "source_unavailable", /no TLS/);
  assert(world.http.requests.every(({ url }) => url.startsWith("https://")));
});

Deno.test("what a registry lacks or denies is said so", async () => {
  await using world = await scriptedWorld();
  await rejectsWith(world.pull(), "not_found", /Cannot find tag "t" in registry.test\/a\/b/);
  world.http.on(`${REPOSITORY}/manifests/t`, { status: 403, body: "no" });
  await rejectsWith(world.pull(), "permission_denied", /denies it/);
  world.http.on(`${REPOSITORY}/manifests/t`, { status: 418, body: "no" });
  await rejectsWith(world.pull(), "source_unavailable", /answered 418/);
  await world.assertClean();
});
