/** Pulls that end before their time: by Ctrl-C, with the daemon, or of one who leaves while another waits. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { archive, member } from "../unit/oci/archive.ts";
import { banger, HOME, killDaemon, ok, start, STATE, until } from "./fixture.ts";
import { removingImage } from "./pulled_images.ts";

const LAYER_BYTES = 6 * 1024 * 1024;
const PIECE_BYTES = 64 * 1024;

const digestOf = (content: Uint8Array | string) =>
  `sha256:${createHash("sha256").update(content).digest("hex")}`;

interface SlowRegistry extends AsyncDisposable {
  readonly reference: string;
  /** Layers whose answers are under way. */
  streaming(): number;
  /** From now on it is quick. */
  hurry(): void;
}

/** A registry with one image, whose layer takes its time. */
function slowRegistry(): SlowRegistry {
  const noise = new Uint8Array(LAYER_BYTES);
  for (let at = 0; at < LAYER_BYTES; at += 65_536) crypto.getRandomValues(noise.subarray(at, at + 65_536));
  const layer = archive(member({ name: "noise", body: noise }));
  const rootfs = { type: "layers", diff_ids: [digestOf(layer)] };
  const config = JSON.stringify({ os: "linux", architecture: "amd64", config: {}, rootfs });
  const type = (name: string) => `application/vnd.oci.image.${name}`;
  const describe = (name: string, content: Uint8Array | string) => ({
    mediaType: type(name),
    digest: digestOf(content),
    size: content.length,
  });
  const manifest = JSON.stringify({
    schemaVersion: 2,
    config: describe("config.v1+json", config),
    layers: [describe("layer.v1.tar", layer)],
  });
  let waitMs = 40;
  let streaming = 0;
  const slowly = () => {
    let at = 0;
    streaming++;
    return new ReadableStream<Uint8Array>({
      async pull(controller) {
        await new Promise((resolve) => setTimeout(resolve, waitMs));
        controller.enqueue(layer.slice(at, at += PIECE_BYTES));
        if (at < layer.length) return;
        streaming--;
        controller.close();
      },
      cancel: () => void streaming--,
    });
  };
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, ({ url }) => {
    if (url.includes("/manifests/")) {
      return new Response(manifest, { headers: { "content-type": type("manifest.v1+json") } });
    }
    if (url.endsWith(digestOf(config))) return new Response(config);
    return url.endsWith(digestOf(layer)) ? new Response(slowly()) : new Response("", { status: 404 });
  });
  return {
    reference: `127.0.0.1:${server.addr.port}/team/slow:v1`,
    streaming: () => streaming,
    hurry: () => void (waitMs = 0),
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

/** What is being made: images and blobs. */
function unfinished(): string[] {
  const names = (path: string) => [...Deno.readDirSync(path)].map(({ name }) => name);
  const ingest = `${HOME}/.cache/banger/oci/ingest`;
  return [
    ...names(`${STATE}/images`).filter((name) => name.startsWith(".")),
    ...names(ingest).flatMap((name) => name.endsWith(".lock") ? [] : names(`${ingest}/${name}`)),
  ];
}

Deno.test("a pull ends with Ctrl-C at once, or with its daemon, and leaves nothing; the next one succeeds", async (t) => {
  await using registry = slowRegistry();
  await using _image = removingImage("slow-v1");
  const pull = ["image", "pull", "--quiet", registry.reference];
  const begin = async (streams = 1) => {
    const child = start(pull);
    const texts = [child.stdout, child.stderr].map((stream) => new Response(stream).text());
    await until(() => registry.streaming() === streams && unfinished().length === 2, "the layer comes");
    return {
      child,
      end: async () => ({ status: await child.status, stderr: (await Promise.all(texts))[1]! }),
    };
  };

  await t.step("Ctrl-C", async () => {
    const { child, end } = await begin();
    const startedAtMs = performance.now();
    child.kill("SIGINT");
    const { status, stderr } = await end();
    assert.equal(status.code, 130, stderr);
    assert.match(stderr, /it was cancelled/);
    await until(() => registry.streaming() === 0, "the download ends");
    assert.ok(performance.now() - startedAtMs < 3000, "it waited for the layer's end");
    assert.deepEqual(unfinished(), []);
  });
  await t.step("the daemon is killed", async () => {
    const { end } = await begin();
    await killDaemon();
    const { status, stderr } = await end();
    assert.notEqual(status.code, 0);
    assert.match(stderr, /banger: Cannot /);
    assert.doesNotMatch(await ok(["image", "list"]), /slow/);
    assert.deepEqual(unfinished(), []);
  });
  await t.step("one of two leaves", async () => {
    const first = await begin();
    const second = banger(pull);
    await new Promise((resolve) => setTimeout(resolve, 500));
    first.child.kill("SIGINT");
    assert.equal((await first.end()).status.code, 130);
    registry.hurry();
    assert.deepEqual(await second, { code: 0, stdout: "slow-v1\n", stderr: "" });
    assert.deepEqual(unfinished(), []);
  });
});
