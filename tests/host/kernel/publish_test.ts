import assert from "node:assert/strict";
import { parseKernelName } from "../../../lib/base/names.ts";
import { parseCatalog } from "../../../lib/kernel/catalog.ts";
import { kernelFiles } from "../../../lib/kernel/manifest.ts";
import { KernelStore } from "../../../lib/kernel/store.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { systemHttpClient } from "../../../lib/sys/http.ts";
import { publishKernel, type PublishOptions } from "../../../scripts/kernel/publish.ts";
import { bundleMembers } from "../../unit/kernel/bundle_fixtures.ts";
import { inTemporaryDirectory, NEVER, ports, RecordedProgress } from "../../unit/kernel/support.ts";

const MINE = parseKernelName("mine");

interface Place {
  readonly directory: string;
  readonly options: PublishOptions;
  readonly said: string[];
}

/** A store with one kernel, an rclone remote that is a directory, and a server that makes it public. */
async function withPlace(body: (place: Place) => Promise<void>): Promise<void> {
  await inTemporaryDirectory(async (directory) => {
    const kernelsDirectory = `${directory}/published`;
    await Deno.mkdir(`${kernelsDirectory}/mine`, { recursive: true });
    for (const { path, content } of bundleMembers()) {
      const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
      await Deno.writeFile(`${kernelsDirectory}/mine/${path}`, bytes);
    }
    const remote = `${directory}/remote`;
    await Deno.mkdir(remote);
    const catalogFile = `${directory}/catalog.json`;
    await Deno.copyFile(new URL("../../../lib/kernel/catalog.json", import.meta.url), catalogFile);
    const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
      const path = `${remote}${decodeURIComponent(new URL(request.url).pathname)}`;
      const file = await Deno.open(path).catch(() => undefined);
      return file ? new Response(file.readable) : new Response("no such file", { status: 404 });
    });
    const said: string[] = [];
    try {
      await body({
        directory,
        said,
        options: {
          name: "mine",
          kernelsDirectory,
          outputDirectory: `${directory}/out`,
          to: remote,
          url: `http://127.0.0.1:${server.addr.port}/`,
          description: "a test's kernel",
          catalogFile,
          isDryRun: false,
          say: (line) => said.push(line),
        },
      });
    } finally {
      await server.shutdown();
    }
  });
}

Deno.test("what publish-kernel uploads, kernel pull takes: the same files come out", () =>
  withPlace(async ({ directory, options }) => {
    await publishKernel(options);
    const catalog = parseCatalog(JSON.parse(await Deno.readTextFile(options.catalogFile)));
    assert.deepEqual(catalog.map(({ name, architecture }) => `${name} ${architecture}`), [
      "debian aarch64",
      "debian x86_64",
      "mine x86_64",
    ]);
    using http = systemHttpClient();
    const places = { kernelsDirectory: `${directory}/pulled`, cacheDirectory: `${directory}/cache` };
    const noDisk = () => Promise.reject(new Error("no disk is built"));
    const store = new KernelStore(realHost(), places, ports(noDisk, { http, catalog }));
    const kernel = await store.pull(MINE, new RecordedProgress(), NEVER);
    const original = kernelFiles(`${options.kernelsDirectory}/mine`);
    for (const file of ["vmlinuxPath", "initramfsPath", "modulesDiskPath"] as const) {
      assert.deepEqual(await Deno.readFile(kernel[file]), await Deno.readFile(original[file]), file);
    }
  }));

Deno.test("publish-kernel packs the same bytes each time, and replaces its entry", () =>
  withPlace(async ({ options }) => {
    const first = await publishKernel(options);
    await Deno.utime(`${options.kernelsDirectory}/mine/vmlinux`, new Date(0), new Date(0));
    assert.deepEqual(await publishKernel(options), first);
    const catalog = parseCatalog(JSON.parse(await Deno.readTextFile(options.catalogFile)));
    assert.deepEqual(catalog.map(({ name }) => name as string), ["debian", "debian", "mine"]);
  }));

Deno.test("publish-kernel --dry-run uploads nothing and leaves the catalog as it is", () =>
  withPlace(async ({ options, said }) => {
    const before = await Deno.readTextFile(options.catalogFile);
    await publishKernel({ ...options, isDryRun: true });
    assert.equal(await Deno.readTextFile(options.catalogFile), before);
    assert.deepEqual(await Array.fromAsync(Deno.readDir(options.to)), []);
    assert.match(said.join("\n"), /would upload it to/);
  }));

Deno.test("publish-kernel leaves the catalog as it is where the file cannot be had, or is another", () =>
  withPlace(async ({ options, directory }) => {
    const before = await Deno.readTextFile(options.catalogFile);
    await assert.rejects(publishKernel({ ...options, to: `${directory}/elsewhere` }), /status 404/);
    await assert.rejects(publishKernel({ ...options, to: "nosuchremote:x" }), /rclone fails/);
    await assert.rejects(publishKernel({ ...options, name: "absent" }), /manifest is missing/);
    const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => new Response("other"));
    const url = `http://127.0.0.1:${server.addr.port}`;
    await assert.rejects(publishKernel({ ...options, url }), /not what was uploaded/);
    await server.shutdown();
    assert.equal(await Deno.readTextFile(options.catalogFile), before);
  }));
