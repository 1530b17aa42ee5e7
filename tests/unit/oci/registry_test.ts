import assert from "node:assert/strict";
import type { HttpRequest } from "../../../lib/base/http.ts";
import { digestOf } from "../../../lib/oci/model/digest.ts";
import type { CredentialFinder, Credentials } from "../../../lib/oci/registry/credentials.ts";
import { libc } from "../../../lib/sys/libc.ts";
import { archive, file } from "./archive.ts";
import { MemorySink, rejectsWith } from "./replayed.ts";
import { type Answer, imageOf, REGISTRY, REPOSITORY, scriptedWorld, serveImage } from "./scripted.ts";

// Opened once and for good by whoever locks a file first: here, so that no test seems to leak it.
libc();

const LAYER = archive(file("f", "x".repeat(20_000)));
const IMAGE = imageOf([LAYER]);
const TREE = { f: "x".repeat(20_000) };
const BLOB = `${REPOSITORY}/blobs/${digestOf(LAYER)}`;
const TOKEN_SERVER = "https://auth.test/token";

const login = (credentials: Credentials): CredentialFinder => ({
  find: (registry) => Promise.resolve(registry === "registry.test" ? credentials : undefined),
});
const BASIC = login({ kind: "basic", username: "user", password: "pä:ss" });
const BASIC_HEADER = `Basic ${btoa(String.fromCharCode(...new TextEncoder().encode("user:pä:ss")))}`;

type World = Awaited<ReturnType<typeof scriptedWorld>>;

/** Lets a repository answer only those who bring a header. */
function demand(world: World, header: string, challenge: string) {
  serveImage(world.http, IMAGE);
  const { send } = world.http;
  world.http.send = async (request: HttpRequest) => {
    const isRegistry = new URL(request.url).origin === REGISTRY;
    if (!isRegistry || request.headers?.["authorization"] === header) {
      return await send.call(world.http, request);
    }
    const refused: Answer = { status: 401, headers: { "www-authenticate": challenge }, body: "no" };
    world.http.on(`${request.url}#refused`, refused);
    return await send.call(world.http, { ...request, url: `${request.url}#refused` });
  };
}

const BEARER = `Bearer realm="${TOKEN_SERVER}",service="registry.test",scope="repository:a/b:pull"`;

Deno.test("Bearer: an anonymous token is fetched once and used", async () => {
  await using world = await scriptedWorld();
  demand(world, "Bearer abc", BEARER);
  world.http.on(TOKEN_SERVER, { body: `{"token":"abc","expires_in":300}` });
  assert.deepEqual(await world.pull(), TREE);
  const asked = world.http.requests.filter(({ url }) => url.startsWith(TOKEN_SERVER));
  assert.deepEqual(asked.map(({ url }) => url), [
    `${TOKEN_SERVER}?service=registry.test&scope=repository%3Aa%2Fb%3Apull`,
  ]);
  assert.equal(asked[0]!.headers?.["authorization"], undefined);
  await world.assertClean();
});

Deno.test("Bearer: all scopes are asked for, access_token is taken, credentials go to the token server only", async () => {
  await using world = await scriptedWorld({ credentials: BASIC });
  demand(world, "Bearer xyz", BEARER.replace(":pull", ":pull repository:c/d:pull"));
  world.http.on(TOKEN_SERVER, { body: `{"access_token":"xyz"}` });
  assert.deepEqual(await world.pull(), TREE);
  for (const { url, headers } of world.http.requests) {
    if (!url.startsWith(TOKEN_SERVER)) assert.notEqual(headers?.["authorization"], BASIC_HEADER);
    else {
      assert.equal(headers?.["authorization"], BASIC_HEADER);
      assert.deepEqual(new URL(url).searchParams.getAll("scope"), [
        "repository:a/b:pull",
        "repository:c/d:pull",
      ]);
    }
  }
});

Deno.test("Bearer: an identity token is exchanged by POST", async () => {
  await using world = await scriptedWorld({
    credentials: login({ kind: "identity-token", token: "refresh" }),
  });
  demand(world, "Bearer new", BEARER);
  world.http.on(TOKEN_SERVER, (request) => {
    const form = new URLSearchParams(request.body);
    assert.equal(request.method, "POST");
    assert.deepEqual([form.get("grant_type"), form.get("refresh_token")], ["refresh_token", "refresh"]);
    return { body: `{"access_token":"new"}` };
  });
  assert.deepEqual(await world.pull(), TREE);
});

Deno.test("Bearer: a missing expires_in means 60 s, after which a new token is fetched", async () => {
  await using world = await scriptedWorld();
  demand(world, "Bearer abc", BEARER);
  world.http.on(TOKEN_SERVER, { body: `{"token":"abc"}` });
  const found = await world.find();
  const tokens = () => world.http.requests.filter(({ url }) => url.startsWith(TOKEN_SERVER)).length;
  assert.equal(tokens(), 1);
  world.clock.nowMs += 56_000;
  const progress = { stage: () => {}, update: () => {}, note: () => {} };

  await found.fill(new MemorySink(), progress, new AbortController().signal);
  assert.equal(tokens(), 2);
});

for (
  const body of [`{"token":""}`, `{}`, `{"token":"a\\r\\nx: y"}`, `{"token":5}`, "no json", `{"token":"a b"}`]
) {
  Deno.test(`Bearer: the token answer ${body} is refused`, async () => {
    await using world = await scriptedWorld();
    demand(world, "Bearer abc", BEARER);
    world.http.on(TOKEN_SERVER, { body });
    await rejectsWith(world.pull(), "corrupt_data", /token/);
    await world.assertClean();
  });
}

Deno.test("a login that is missing or refused is said so", async () => {
  for (
    const [credentials, text] of [[undefined, /wants a login/], [BASIC, /refuses these credentials/]] as const
  ) {
    await using world = await scriptedWorld(credentials === undefined ? {} : { credentials });
    demand(world, "Bearer never", BEARER);
    world.http.on(TOKEN_SERVER, { status: 401, body: "{}" });
    await rejectsWith(world.pull(), "permission_denied", text);
    await world.assertClean();
  }
});

Deno.test("a token that the registry does not take is not fetched again and again", async () => {
  await using world = await scriptedWorld();
  demand(world, "Bearer other", BEARER);
  world.http.on(TOKEN_SERVER, { body: `{"token":"abc"}` });
  await rejectsWith(world.pull(), "permission_denied", /refuses/);
  assert(world.http.requests.length <= 4);
  await world.assertClean();
});

Deno.test("Basic: credentials go to the registry that asks for them", async () => {
  await using world = await scriptedWorld({ credentials: BASIC });
  demand(world, BASIC_HEADER, `Basic realm="x"`);
  assert.deepEqual(await world.pull(), TREE);
});

for (
  const [realm, text] of [
    ["http://auth.test/token", /not reached over https/],
    ["https://10.0.0.1/token", /private network/],
    ["https://192.168.1.1/token", /private network/],
    ["https://172.20.0.1/token", /private network/],
    ["https://127.0.0.1/token", /private network/],
    ["https://localhost/token", /private network/],
    ["https://169.254.169.254/latest", /private network/],
    ["https://2130706433/token", /private network/],
    ["https://[::1]/token", /private network/],
    ["https://[fe80::1]/token", /private network/],
    ["https://[::ffff:10.0.0.1]/token", /private network/],
    ["https://user:pw@auth.test/token", /login in it/],
    ["file:///etc/passwd", /no https URL/],
    ["/token", /no URL/],
  ] as const
) {
  Deno.test(`Realm: ${realm} is refused`, async () => {
    await using world = await scriptedWorld({ credentials: BASIC });
    demand(world, "Bearer x", `Bearer realm="${realm}",service="s"`);
    await rejectsWith(world.pull(), "permission_denied", text);
    assert(world.http.requests.every(({ url }) => url.startsWith(REGISTRY)), "the realm was asked");
    await world.assertClean();
  });
}

Deno.test("Realm: a registry in a private network may name its own host", async () => {
  await using world = await scriptedWorld();
  const base = "https://10.1.2.3:5000/v2/a/b";
  serveImage(world.http, IMAGE, { base });
  let isFirst = true;
  const manifest = { body: JSON.stringify(IMAGE.manifest) };
  world.http.on(`${base}/manifests/t`, (request) => {
    if (!isFirst) {
      assert.equal(request.headers?.["authorization"], "Bearer t");
      return manifest;
    }
    isFirst = false;
    return { status: 401, headers: { "www-authenticate": `Bearer realm="https://10.1.2.3:5001/auth"` } };
  });
  world.http.on("https://10.1.2.3:5001/auth", { body: `{"token":"t"}` });
  assert.deepEqual(await world.pull("10.1.2.3:5000/a/b:t"), TREE);
});

Deno.test("Redirect: a blob elsewhere is fetched without credentials", async () => {
  await using world = await scriptedWorld({ credentials: BASIC });
  demand(world, BASIC_HEADER, `Basic realm="x"`);
  world.http.on(BLOB, { status: 307, headers: { location: "https://cdn.test/blob?signature=secret" } });
  world.http.on("https://cdn.test/blob", { status: 302, headers: { location: "/other" } });
  world.http.on("https://cdn.test/other", { body: LAYER });
  assert.deepEqual(await world.pull(), TREE);
  const elsewhere = world.http.requests.filter(({ url }) => url.startsWith("https://cdn.test"));
  assert.equal(elsewhere.length, 2);
  assert(elsewhere.every(({ headers }) => headers?.["authorization"] === undefined));
  await world.assertClean();
});

Deno.test("Redirect: another port of the registry's host gets no credentials", async () => {
  await using world = await scriptedWorld({ credentials: BASIC });
  demand(world, BASIC_HEADER, `Basic realm="x"`);
  world.http.on(BLOB, { status: 307, headers: { location: "https://registry.test:8443/blob" } });
  world.http.on("https://registry.test:8443/blob", (request) => {
    assert.equal(request.headers?.["authorization"], undefined);
    return { body: LAYER };
  });
  assert.deepEqual(await world.pull(), TREE);
});

for (
  const [location, text] of [
    ["http://cdn.test/blob", /from https to http/],
    ["http://registry.test/blob", /from https to http/],
    ["file:///etc/passwd", /no http URL/],
    ["https://169.254.169.254/latest/meta-data", /link-local/],
    ["https://[fe80::1]/x", /link-local/],
    ["https://", /leads nowhere/],
    [undefined, /leads nowhere/],
  ] as const
) {
  Deno.test(`Redirect: to ${location} is refused`, async () => {
    await using world = await scriptedWorld();
    serveImage(world.http, IMAGE);
    world.http.on(BLOB, { status: 307, headers: location === undefined ? {} : { location } });
    await rejectsWith(world.pull(), "permission_denied", text);
    await world.assertClean();
  });
}

Deno.test("Redirect: eleven in a row are refused, and a signed URL is not shown", async () => {
  await using world = await scriptedWorld();
  serveImage(world.http, IMAGE);
  world.http.on(BLOB, { status: 307, headers: { location: "https://cdn.test/loop?signature=secret" } });
  world.http.on("https://cdn.test/loop", { status: 307, headers: { location: "/loop?signature=secret" } });
  await rejectsWith(world.pull(), "permission_denied", /^(?!.*secret).*redirect number 11/);
  await world.assertClean();
});

Deno.test("Redirect: a 401 from elsewhere does not make us log in there", async () => {
  await using world = await scriptedWorld({ credentials: BASIC });
  serveImage(world.http, IMAGE);
  world.http.on(BLOB, { status: 307, headers: { location: "https://cdn.test/blob" } });
  world.http.on("https://cdn.test/blob", { status: 401, headers: { "www-authenticate": BEARER } });
  await rejectsWith(world.pull(), "permission_denied", /wants a login/);
  assert(world.http.requests.every(({ url }) => !url.startsWith(TOKEN_SERVER)));
  await world.assertClean();
});
