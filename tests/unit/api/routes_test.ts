import assert from "node:assert/strict";
import { apiClient, followOperation } from "../../../lib/api/client.ts";
import type { OperationEvent } from "../../../lib/api/contract.ts";
import { Operations } from "../../../lib/api/operations.ts";
import { routes } from "../../../lib/api/routes.ts";
import type { Services } from "../../../lib/api/services.ts";
import { BangerError, ERRORS } from "../../../lib/base/errors.ts";

function fixture(overrides: { create?: Services["vms"]["create"] } = {}) {
  const operations = new Operations({ clock: { now: () => 0 }, log: () => {} });
  const missing = (name: string) =>
    Promise.reject(new BangerError("not_found", `Cannot find VM ${name}`, "Look"));
  const services = {
    vms: {
      list: () => Promise.resolve([]),
      get: missing,
      create: overrides.create ??
        ((request) => operations.begin("vm create", () => Promise.resolve(request.name ?? "x"))),
    },
    operations: {
      list: () => operations.list(),
      get: operations.get,
      events: operations.events,
      cancel: (id: string) => operations.cancel(id),
    },
    daemon: { version: () => ({ version: "1" }), shutdown: () => {} },
  } as unknown as Services;
  const app = routes(services, () => {});
  return { app, operations, client: apiClient((url, init) => Promise.resolve(app.request(url, init))) };
}

async function post(path: string, body: string, contentType = "application/json") {
  const response = await fixture().app.request(path, {
    method: "POST",
    body,
    headers: { "content-type": contentType },
  });
  return { status: response.status, body: await response.json() };
}

for (
  const [body, pattern] of [
    ['{"name":"Bad Name"}', /Cannot use "Bad Name" as a VM name/],
    ['{"cpus":0}', /cpus/],
    ['{"cpus":1.5}', /cpus/],
    ['{"memoryMib":"2G"}', /memoryMib/],
    ['{"memoryMib":1}', /memoryMib/],
    ['{"unknown":1}', /unknown/i],
    ['{"environment":{"a b":"1"}}', /environment/],
    ['{"gitIdentity":{"name":"a\\nb","email":"c"}}', /gitIdentity/],
    ["[]", /./],
    ["{", /JSON/i],
    ['"x"', /./],
  ] as const
) {
  Deno.test(`POST /v1/vms refuses ${body}`, async () => {
    const answer = await post("/v1/vms", body);
    assert.equal(answer.status, 400);
    assert.equal(answer.body.code, "invalid_argument");
    assert.match(answer.body.message, pattern);
  });
}

Deno.test("a body without a JSON Content-Type is refused, not taken for an empty one", async () => {
  assert.equal((await post("/v1/vms", '{"name":"web"}', "text/plain")).status, 415);
});

Deno.test("errors reach the client as they were thrown, with their one HTTP status", async () => {
  const { app, client } = fixture();
  const response = await app.request("/v1/vms/nope");
  assert.equal(response.status, ERRORS.not_found.status);
  await assert.rejects(
    client.v1.vms[":name"].$get({ param: { name: "nope" } }),
    (thrown) => thrown instanceof BangerError && thrown.code === "not_found" && thrown.hint === "Look",
  );
});

Deno.test("an unknown path is an error with a hint", async () => {
  const response = await fixture().app.request("/v2");
  assert.equal(response.status, 404);
  assert.match((await response.json()).hint, /openapi/);
});

Deno.test("the OpenAPI document names every route and the error", async () => {
  const document = await (await fixture().app.request("/v1/openapi.json")).json();
  assert.equal(document.openapi, "3.1.0");
  assert.ok(Object.keys(document.paths).length >= 15);
  assert.ok(document.components.schemas.CreateVm.properties.memoryMib);
  assert.ok(document.paths["/v1/vms"].post.responses.default);
});

Deno.test("an operation is followed from its first event, by several clients", async () => {
  const release = Promise.withResolvers<void>();
  const { client, operations } = fixture();
  const operation = operations.begin("test", async (progress) => {
    progress.stage("one");
    await release.promise;
    progress.stage("two");
    return "made";
  });
  const seen: OperationEvent[][] = [[], []];
  const following = seen.map((events) => followOperation(client, operation, (event) => events.push(event)));
  await new Promise((resolve) => setTimeout(resolve, 20));
  release.resolve();
  assert.deepEqual((await Promise.all(following)).map(({ result }) => result), ["made", "made"]);
  for (const events of seen) assert.deepEqual(events.map(({ type }) => type), ["stage", "stage", "finished"]);
});

Deno.test("a failed operation throws its own error", async () => {
  const { client, operations } = fixture();
  const operation = operations.begin(
    "test",
    () => Promise.reject(new BangerError("no_space", "Cannot x", "Free")),
  );
  await assert.rejects(
    followOperation(client, operation, () => {}),
    (thrown) => thrown instanceof BangerError && thrown.code === "no_space" && thrown.hint === "Free",
  );
});

Deno.test("a cancelled operation says so, whatever its work threw", async () => {
  const { client, operations } = fixture();
  const operation = operations.begin(
    "test",
    (_, signal) =>
      new Promise((_, reject) =>
        signal.addEventListener("abort", () => reject(new Error("some inner failure")))
      ),
  );
  operations.cancel(operation.id);
  await assert.rejects(
    followOperation(client, operation, () => {}),
    (thrown) => thrown instanceof BangerError && thrown.code === "cancelled",
  );
  assert.equal(operations.get(operation.id).state, "cancelled");
});

Deno.test("old finished operations are forgotten, running ones never", async () => {
  const { operations } = fixture();
  const release = Promise.withResolvers<string>();
  const running = operations.begin("long", () => release.promise);
  for (let i = 0; i < 250; i++) {
    operations.begin("short", () => Promise.resolve("x"));
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  assert.ok(operations.list().length <= 110);
  assert.equal(operations.get(running.id).state, "running");
  release.resolve("x");
  await operations.cancelAll();
});

Deno.test("an operation tells its stage and its start, and is found by the beginning of its id", async () => {
  const { client, operations } = fixture();
  const release = Promise.withResolvers<string>();
  const { id } = operations.begin("vm create", (progress) => {
    progress.stage("booting");
    return release.promise;
  });
  const look = async (start: string) =>
    await (await client.v1.operations[":id"].$get({ param: { id: start } })).json();
  const { stage, startedAt, ...rest } = await look(id.slice(0, 8));
  assert.deepEqual([stage, startedAt, rest.id], ["booting", "1970-01-01T00:00:00.000Z", id]);
  for (const start of ["", id.slice(0, 3), "ffffffff"]) {
    await assert.rejects(
      look(start || " "),
      (thrown) => thrown instanceof BangerError && thrown.code === "not_found",
    );
  }
  release.resolve("x");
  await operations.cancelAll();
});
