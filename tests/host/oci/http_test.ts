/** The real HTTP client against a real server. */
import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { systemHttpClient } from "../../../lib/sys/http.ts";

async function served(handler: (request: Request) => Response | Promise<Response>) {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, handler);
  await Promise.resolve();
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

async function textOf(body: AsyncIterable<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of body) text += decoder.decode(chunk, { stream: true });
  return text;
}

Deno.test("requests go out as they are, redirects come back as answers", async () => {
  await using server = await served(async (request) => {
    const seen = `${request.method} ${request.headers.get("x-test")} ${
      request.headers.get("accept-encoding")
    }`;
    const headers = { location: "/next", "x-two": "a" };
    return new Response(`${seen} ${await request.text()}`, { status: 307, headers });
  });
  using http = systemHttpClient();
  const response = await http.send({
    method: "POST",
    url: server.url,
    headers: { "x-test": "1" },
    body: "body",
  });
  assert.equal(response.status, 307);
  assert.equal(response.header("Location"), "/next");
  assert.equal(response.header("x-none"), undefined);
  assert.equal(await textOf(response.body), "POST 1 identity body");
});

Deno.test("a server that cannot be reached is said so", async () => {
  using http = systemHttpClient();
  let port: number;
  {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    port = (listener.addr as Deno.NetAddr).port;
  }
  await assert.rejects(
    http.send({ method: "GET", url: `http://127.0.0.1:${port}/?secret` }),
    (failure) =>
      failure instanceof BangerError && failure.code === "source_unavailable" &&
      failure.message === `Cannot reach "127.0.0.1:${port}": Connection refused`,
  );
});

/** Gives ten bytes and then nothing, of /slow nothing at all, until it is over. */
function servedUntil(isOver: Promise<void>): ReturnType<typeof served> {
  return served(async (request) => {
    if (new URL(request.url).pathname === "/slow") await isOver;
    return new Response(
      new ReadableStream({
        async start(controller) {
          controller.enqueue(new Uint8Array(10));
          await isOver;
          controller.close();
        },
      }),
    );
  });
}

Deno.test("a signal ends the request, and reading its body", async () => {
  const { promise: isOver, resolve: end } = Promise.withResolvers<void>();
  await using server = await servedUntil(isOver);
  using http = systemHttpClient();
  const before = new AbortController();
  const sent = http.send({ method: "GET", url: `${server.url}/slow`, signal: before.signal });
  before.abort(new Error("enough"));
  await assert.rejects(sent, /enough/);

  const during = new AbortController();
  const response = await http.send({ method: "GET", url: server.url, signal: during.signal });
  const chunks = response.body[Symbol.asyncIterator]();
  assert.equal((await chunks.next()).value?.length, 10);
  const next = chunks.next();
  during.abort(new Error("enough"));
  await assert.rejects(next, /enough/);
  end();
});

Deno.test("a server that goes silent is given up, before its answer and within", async () => {
  const { promise: isOver, resolve: end } = Promise.withResolvers<void>();
  await using server = await servedUntil(isOver);
  using http = systemHttpClient({ idleTimeoutMs: 50 });
  const isSilence = (failure: unknown) =>
    failure instanceof BangerError && failure.code === "source_unavailable" &&
    /^Cannot read from "127\.0\.0\.1:\d+": it sent nothing for 0\.05 s$/.test(failure.message);
  await assert.rejects(http.send({ method: "GET", url: `${server.url}/slow` }), isSilence);
  // Where its head takes longer than that, on a busy machine, the same is said.
  const within = async () => await textOf((await http.send({ method: "GET", url: server.url })).body);
  await assert.rejects(within(), isSilence);
  end();
});

/** A program of its own, since only there garbage can be collected when it matters. */
const ABORTS_AFTER_COLLECTION = `
const { systemHttpClient } = await import(Deno.args[0]);
const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () =>
  new Response(new ReadableStream({ start: (controller) => controller.enqueue(new Uint8Array(10)) })));
const aborting = new AbortController();
const open = async (client) =>
  (await client.send({ method: "GET", url: "http://127.0.0.1:" + server.addr.port, signal: aborting.signal })).body;
const body = await open(systemHttpClient());
await new Promise((resolve) => setTimeout(resolve, 10));
gc();
setTimeout(() => aborting.abort(new Error("enough")), 10);
setTimeout(() => Deno.exit(1), 3000);
try {
  for await (const _ of body);
} catch {
  Deno.exit(0);
}
`;

Deno.test("a signal ends a body also after what else belonged to the answer was collected", async () => {
  const file = await Deno.makeTempFile({ suffix: ".js" });
  try {
    await Deno.writeTextFile(file, ABORTS_AFTER_COLLECTION);
    const module = new URL("../../../lib/sys/http.ts", import.meta.url).href;
    const args = ["run", "--no-check", "--allow-net", "--allow-read", "--v8-flags=--expose-gc", file, module];
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args,
      stdout: "null",
      stderr: "piped",
    }).output();
    assert.equal(code, 0, `the body went on: ${new TextDecoder().decode(stderr)}`);
  } finally {
    await Deno.remove(file);
  }
});
