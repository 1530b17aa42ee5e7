import assert from "node:assert/strict";
import type { ErrorCode } from "../../../lib/base/errors.ts";
import type { Host } from "../../../lib/base/host.ts";
import type { HttpClient } from "../../../lib/base/http.ts";
import { parseKernelName } from "../../../lib/base/names.ts";
import type { CatalogEntry } from "../../../lib/kernel/catalog.ts";
import { KernelStore } from "../../../lib/kernel/store.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { bundleMembers, bundleOf, entryFor, scriptedHttp, URL_OF_BUNDLE } from "./bundle_fixtures.ts";
import { elfExecutable, type TarMember } from "./fixtures.ts";
import {
  inTemporaryDirectory,
  isBanger,
  NEVER,
  ports,
  RecordedProgress,
  recordingDiskBuilder,
} from "./support.ts";

const MINE = parseKernelName("mine");

async function withStore(
  { entry, http, host = {} }: { entry: CatalogEntry; http: HttpClient; host?: Partial<Host> },
  body: (store: KernelStore, kernelsDirectory: string) => Promise<void>,
): Promise<void> {
  await inTemporaryDirectory(async (directory) => {
    const kernelsDirectory = `${directory}/kernels`;
    const store = new KernelStore({ ...realHost(), ...host }, {
      kernelsDirectory,
      cacheDirectory: `${directory}/cache`,
    }, ports(recordingDiskBuilder(), { http, catalog: [entry] }));
    await body(store, kernelsDirectory);
    const left = (await Array.fromAsync(Deno.readDir(kernelsDirectory))).map(({ name }) => name);
    assert.deepEqual(left.filter((name) => name.startsWith(".staging")), [], "nothing half-made stays");
  });
}

/** The pull fails like this, and leaves no kernel. */
async function refuses(
  parts: { entry: CatalogEntry; http: HttpClient; host?: Partial<Host> },
  code: ErrorCode,
  message: RegExp,
): Promise<void> {
  await withStore(parts, async (store) => {
    await assert.rejects(store.pull(MINE, new RecordedProgress(), NEVER), isBanger(code, message));
    assert.equal(await store.find(MINE), undefined);
  });
}

async function refusesMembers(
  members: readonly TarMember[],
  message: RegExp,
  code: ErrorCode = "corrupt_data",
) {
  const bundle = bundleOf(members);
  await refuses({ entry: entryFor(bundle), http: scriptedHttp(() => ({ body: bundle })) }, code, message);
}

Deno.test("pull() takes a bundle, once: what is here is not fetched again unless it is forced", async () => {
  const bundle = bundleOf(bundleMembers());
  const http = scriptedHttp(({ url }) =>
    url === URL_OF_BUNDLE
      ? { status: 302, headers: { location: "https://mirror.test/x?a=b" } }
      : { body: bundle, headers: { "content-length": String(bundle.length) } }
  );
  await withStore({ entry: entryFor(bundle), http }, async (store) => {
    const kernel = await store.pull(MINE, new RecordedProgress(), NEVER);
    assert.equal(kernel.version, "6.1.1-banger");
    assert.match(kernel.source, /^https:\/\/kernels\.test\/mine\.tar\.zst sha256:[0-9a-f]{64}$/);
    assert.deepEqual(await Deno.readFile(kernel.vmlinuxPath), elfExecutable());
    const disk = await Deno.stat(kernel.modulesDiskPath);
    assert.equal(disk.size, 300_000);
    assert.ok(disk.blocks! * 512 < 300_000, "zeros are holes");
    await store.pull(MINE, new RecordedProgress(), NEVER);
    assert.deepEqual(http.urls, [URL_OF_BUNDLE, "https://mirror.test/x?a=b"]);
    await store.pull(MINE, new RecordedProgress(), NEVER, { force: true });
    assert.equal(http.urls.length, 4);
  });
});

Deno.test("pull() renews the scripts of a bundle that another build packed", async () => {
  const bundle = bundleOf(bundleMembers({ initramfsRevision: "older" }));
  const http = scriptedHttp(() => ({ body: bundle }));
  await withStore({ entry: entryFor(bundle), http }, async (store) => {
    await store.pull(MINE, new RecordedProgress(), NEVER);
    assert.notEqual((await store.get(MINE)).initramfsRevision, "older");
  });
});

Deno.test("pull() replaces a kernel of that name once the catalog has another", async () => {
  const first = bundleOf(bundleMembers());
  const second = bundleOf(bundleMembers({ version: "6.1.2-banger" }));
  const catalog = [entryFor(first)];
  let served = first;
  await inTemporaryDirectory(async (directory) => {
    const places = { kernelsDirectory: `${directory}/kernels`, cacheDirectory: `${directory}/cache` };
    const http = scriptedHttp(() => ({ body: served }));
    const store = new KernelStore(realHost(), places, ports(recordingDiskBuilder(), { http, catalog }));
    await store.pull(MINE, new RecordedProgress(), NEVER);
    served = second;
    catalog[0] = entryFor(second);
    assert.equal((await store.pull(MINE, new RecordedProgress(), NEVER)).version, "6.1.2-banger");
  });
});

Deno.test("pull() keeps nothing of a server that lies about the content", async () => {
  const bundle = bundleOf(bundleMembers());
  const entry = entryFor(bundle);
  const other = bundle.slice();
  other[other.length - 1]! ^= 1;
  const serve = (body: Uint8Array, headers: Record<string, string> = {}) => ({
    entry,
    http: scriptedHttp(() => ({ body, headers })),
  });
  await refuses(serve(other), "corrupt_data", /its SHA-256 is/);
  await refuses(serve(bundle.subarray(0, -1)), "corrupt_data", /ends after \d+ of \d+ bytes/);
  await refuses(serve(new Uint8Array(bundle.length + 1)), "corrupt_data", /sends more than \d+ bytes/);
  await refuses(serve(bundle, { "content-length": "5" }), "corrupt_data", /announces "5" bytes/);
});

Deno.test("pull() gives up on servers that refuse, redirect in circles, or to what is not https", async () => {
  const entry = entryFor(new Uint8Array(10));
  const answer = (status: number, headers: Record<string, string> = {}) => ({
    entry,
    http: scriptedHttp(() => ({ status, headers })),
  });
  await refuses(answer(404), "source_unavailable", /status 404/);
  await refuses(
    answer(302, { location: URL_OF_BUNDLE }),
    "source_unavailable",
    /redirects more than 5 times/,
  );
  await refuses(answer(302, { location: "http://plain.test/" }), "source_unavailable", /redirects to/);
  await refuses(answer(302, { location: "file:///etc/passwd" }), "source_unavailable", /redirects to/);
  await refuses(answer(302), "source_unavailable", /redirects to "nowhere"/);
});

Deno.test("pull() gives up on a server that hangs", async () => {
  const bundle = bundleOf(bundleMembers());
  const http = scriptedHttp(() => ({ body: bundle.subarray(0, 100), hangs: true }));
  let nowMs = 0;
  const clock = {
    ...realHost().clock,
    monotonicMs: () => nowMs,
    sleep(ms: number, signal?: AbortSignal) {
      nowMs += ms;
      return realHost().clock.sleep(1, signal);
    },
  };
  await refuses({ entry: entryFor(bundle), http, host: { clock } }, "source_unavailable", /nothing for 30 s/);
});

Deno.test("pull() ends at the signal with its reason", async () => {
  const bundle = bundleOf(bundleMembers());
  const controller = new AbortController();
  const http = scriptedHttp(() => {
    queueMicrotask(() => controller.abort(new Error("enough")));
    return { body: bundle.subarray(0, 100), hangs: true };
  });
  await withStore({ entry: entryFor(bundle), http }, async (store) => {
    await assert.rejects(store.pull(MINE, new RecordedProgress(), controller.signal), /enough/);
  });
});

const [initramfs, manifest, modules, vmlinux] = bundleMembers();
const HOSTILE: readonly (readonly [string, readonly TarMember[], RegExp])[] = [
  ["a name that leads outside", [...bundleMembers(), { path: "../evil", content: "x" }], /leads outside/],
  ["an absolute name", [...bundleMembers(), { path: "/etc/cron.d/x", content: "x" }], /does not belong/],
  ["a symbolic link", [...bundleMembers(), { path: "link", type: "2" }], /a symlink "link"/],
  [
    "a symbolic link in a member's place",
    [initramfs, manifest, modules, { path: "vmlinux", type: "2" }],
    /symlink/,
  ],
  ["a hard link", [...bundleMembers(), { path: "vmlinux2", type: "1" }], /does not belong/],
  ["a device", [...bundleMembers(), { path: "sda", type: "4" }], /does not belong/],
  ["a directory", [...bundleMembers(), { path: "sub/", type: "5" }], /does not belong/],
  ["a member twice", [...bundleMembers(), vmlinux], /does not belong/],
  ["a member that is missing", [initramfs, manifest, modules], /has no vmlinux/],
  ["no members at all", [], /has no manifest\.json/],
  [
    "a manifest that is too long",
    [{ path: "manifest.json", content: "x".repeat(70_000) }],
    /has 70000 bytes/,
  ],
];

for (const [what, members, message] of HOSTILE) {
  Deno.test(`pull() refuses a bundle with ${what}`, () => refusesMembers(members, message));
}

Deno.test("pull() refuses a bundle whose manifest does not fit", async () => {
  await refusesMembers(bundleMembers({ name: "other" }), /not that of the kernel that was asked for/);
  await refusesMembers(bundleMembers({ sha256: "0".repeat(64) }), /not the one that its manifest speaks of/);
  await refusesMembers(
    [initramfs, { path: "manifest.json", content: "{" }, modules, vmlinux],
    /its manifest is not/,
  );
});

Deno.test("pull() refuses a bundle for another processor, and a catalog's entry for one", async () => {
  await refusesMembers(
    bundleMembers({}, elfExecutable({ machine: 183 })),
    /another processor/,
    "host_unsupported",
  );
  const bundle = bundleOf(bundleMembers());
  const entry = entryFor(bundle, { architecture: "aarch64" });
  await inTemporaryDirectory(async (directory) => {
    const places = { kernelsDirectory: `${directory}/kernels`, cacheDirectory: `${directory}/cache` };
    const store = new KernelStore(realHost(), places, ports(recordingDiskBuilder(), { catalog: [entry] }));
    await assert.rejects(
      store.pull(MINE, new RecordedProgress(), NEVER),
      isBanger("host_unsupported", /it is for aarch64/),
    );
  });
});

Deno.test("pull() refuses what is no zstd, and zstd that is cut off", async () => {
  const bundle = bundleOf(bundleMembers());
  for (const damaged of [new TextEncoder().encode("no zstd at all"), bundle.slice(0, bundle.length / 2)]) {
    await refuses(
      { entry: entryFor(damaged), http: scriptedHttp(() => ({ body: damaged })) },
      "corrupt_data",
      /Cannot/,
    );
  }
});
