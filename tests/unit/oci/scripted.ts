/** A world in which the tests play the registry. No network, and no time passes. */
import assert from "node:assert/strict";
import type { Clock } from "../../../lib/base/host.ts";
import type { HttpClient, HttpRequest, HttpResponse } from "../../../lib/base/http.ts";
import { Images } from "../../../lib/oci/images.ts";
import { type Digest, digestOf } from "../../../lib/oci/model/digest.ts";
import { parsePlatform } from "../../../lib/oci/model/platform.ts";
import { ANONYMOUS, type CredentialFinder } from "../../../lib/oci/registry/credentials.ts";
import { NO_REGISTRY_SETTINGS, type RegistrySettings } from "../../../lib/oci/registry/settings.ts";
import { ContentStore } from "../../../lib/oci/store/content_store.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { bytes } from "./archive.ts";
import { MemorySink, shown } from "./replayed.ts";

export interface Answer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  /** Ends the body with an error after so many bytes. */
  readonly breakAfter?: number;
  /** The error; default: the connection's. */
  readonly breakWith?: Error;
}

export type Handler = (request: HttpRequest, count: number) => Answer | Promise<Answer>;

/** Answers by URL; whatever was not scripted is a 404. */
class ScriptedHttp implements HttpClient {
  readonly requests: HttpRequest[] = [];
  readonly #handlers = new Map<string, Handler>();
  readonly #counts = new Map<string, number>();
  #openBodies = 0;

  on(url: string, handler: Handler | Answer): this {
    this.#handlers.set(url, typeof handler === "function" ? handler : () => handler);
    return this;
  }

  /** Bodies that were neither read to the end nor cancelled: each would hold a connection. */
  get openBodies(): number {
    return this.#openBodies;
  }

  async send(request: HttpRequest): Promise<HttpResponse> {
    request.signal?.throwIfAborted();
    this.requests.push(request);
    const handler = this.#handlers.get(request.url) ?? this.#handlers.get(request.url.split("?")[0]!);
    const count = (this.#counts.get(request.url) ?? 0) + 1;
    this.#counts.set(request.url, count);
    const answer = handler === undefined ? { status: 404 } : await handler(request, count);
    const headers = new Headers(answer.headers);
    return {
      status: answer.status ?? 200,
      header: (name) => headers.get(name) ?? undefined,
      body: this.#body(answer),
    };
  }

  #body(answer: Answer): ReadableStream<Uint8Array> {
    this.#openBodies++;
    const whole = bytes(answer.body ?? "");
    let at = 0;
    return new ReadableStream({
      pull: (controller) => {
        const end = Math.min(answer.breakAfter ?? whole.length, at + 1000);
        if (at < end) {
          controller.enqueue(whole.slice(at, end));
          at = end;
        } else {
          this.#openBodies--;
          if (answer.breakAfter === undefined) controller.close();
          else controller.error(answer.breakWith ?? new TypeError("connection reset"));
        }
      },
      cancel: () => {
        this.#openBodies--;
      },
    }, { highWaterMark: 0 });
  }
}

/** Waits nothing and remembers how long it should have. */
class InstantClock implements Clock {
  readonly slept: number[] = [];
  nowMs = 1_700_000_000_000;

  now(): number {
    return this.nowMs;
  }
  monotonicMs(): number {
    return this.nowMs;
  }
  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    this.slept.push(ms);
    this.nowMs += ms;
    await Promise.resolve();
  }
}

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
}

export function descriptorOf(mediaType: string, content: string | Uint8Array): Descriptor {
  return { mediaType, digest: digestOf(bytes(content)), size: bytes(content).length };
}

export const TYPES = {
  index: "application/vnd.oci.image.index.v1+json",
  manifest: "application/vnd.oci.image.manifest.v1+json",
  config: "application/vnd.oci.image.config.v1+json",
  layer: "application/vnd.oci.image.layer.v1.tar",
  gzipLayer: "application/vnd.oci.image.layer.v1.tar+gzip",
  dockerList: "application/vnd.docker.distribution.manifest.list.v2+json",
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
} as const;

/** An image of layers as documents, to be changed before it is served. */
export function imageOf(
  layers: readonly Uint8Array[],
  more: { architecture?: string; diffIds?: string[] } = {},
) {
  const config = JSON.stringify({
    os: "linux",
    architecture: more.architecture ?? "amd64",
    rootfs: { type: "layers", diff_ids: more.diffIds ?? layers.map((layer) => digestOf(layer)) },
    config: { Env: ["A=b"], Cmd: ["/bin/sh"], User: "1:2", WorkingDir: "/w" },
  });
  const manifest = {
    schemaVersion: 2,
    mediaType: TYPES.manifest as string,
    config: descriptorOf(TYPES.config, config),
    layers: layers.map((layer) => descriptorOf(TYPES.layer, layer)),
  };
  return { config, manifest, layers };
}

export const REGISTRY = "https://registry.test";
export const REPOSITORY = `${REGISTRY}/v2/a/b`;

/** Scripts a manifest under a tag and its digest. @returns its descriptor */
export function serveManifest(
  http: ScriptedHttp,
  document: unknown,
  { tag = "t", mediaType = TYPES.manifest as string, base = REPOSITORY }: {
    tag?: string;
    mediaType?: string;
    base?: string;
  } = {},
): Descriptor {
  const body = typeof document === "string" ? document : JSON.stringify(document);
  const answer = { body, headers: { "content-type": mediaType } };
  const descriptor = descriptorOf(mediaType, body);
  http.on(`${base}/manifests/${tag}`, answer).on(`${base}/manifests/${descriptor.digest}`, answer);
  return descriptor;
}

export function serveBlob(http: ScriptedHttp, content: string | Uint8Array, base = REPOSITORY): void {
  http.on(`${base}/blobs/${digestOf(bytes(content))}`, { body: content });
}

/** Scripts everything of an image. */
export function serveImage(
  http: ScriptedHttp,
  image: ReturnType<typeof imageOf>,
  options: { tag?: string; base?: string; mediaType?: string } = {},
): Descriptor {
  serveBlob(http, image.config, options.base);
  for (const layer of image.layers) serveBlob(http, layer, options.base);
  return serveManifest(http, image.manifest, options);
}

/** A world with a registry, and a store in a directory that is gone when the test ends. */
export async function scriptedWorld(
  more: { settings?: Partial<RegistrySettings>; credentials?: CredentialFinder } = {},
) {
  const ends = new AsyncDisposableStack();
  const directory = await Deno.makeTempDir({ prefix: "banger-oci-" });
  ends.defer(() => Deno.remove(directory, { recursive: true }));
  const http = new ScriptedHttp();
  const clock = new InstantClock();
  const host = { ...realHost(), clock };
  const store = ends.use(await ContentStore.open(host, `${directory}/store`));
  const images = new Images({ ...host, http, random: () => 0 }, {
    store,
    settings: { ...NO_REGISTRY_SETTINGS, ...more.settings },
    credentials: more.credentials ?? ANONYMOUS,
  });
  const find = (name = "registry.test/a/b:t", platform = "amd64", signal = new AbortController().signal) =>
    images.find(name, parsePlatform(platform), signal);
  return {
    directory,
    http,
    clock,
    store,
    images,
    find,
    /** Finds and fills. @returns the tree */
    pull: async (name?: string, platform?: string, signal = new AbortController().signal) => {
      const found = await find(name, platform, signal);
      const progress = { stage: () => {}, update: () => {}, note: () => {} };
      const { root } = await found.fill(new MemorySink(), progress, signal);
      return shown(root);
    },
    /** Asserts that a failed pull left nothing half done and no connection open. */
    async assertClean(): Promise<void> {
      assert.equal(http.openBodies, 0, "a body was left open");
      for await (const entry of Deno.readDir(`${directory}/store/ingest`)) {
        if (!entry.isDirectory) continue;
        const left = [...Deno.readDirSync(`${directory}/store/ingest/${entry.name}`)];
        assert.deepEqual(left, [], "a partial download was left");
      }
    },
    [Symbol.asyncDispose]: () => ends.disposeAsync(),
  };
}
