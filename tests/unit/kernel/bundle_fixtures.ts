import { createHash } from "node:crypto";
import { concatBytes } from "../../../lib/base/bytes.ts";
import type { HttpClient, HttpRequest } from "../../../lib/base/http.ts";
import { parseKernelName } from "../../../lib/base/names.ts";
import type { CatalogEntry } from "../../../lib/kernel/catalog.ts";
import { initramfsRevision, initramfsScripts } from "../../../lib/kernel/initramfs.ts";
import { elfExecutable, tar, type TarMember } from "./fixtures.ts";

export const URL_OF_BUNDLE = "https://kernels.test/mine.tar.zst";

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** A zstd frame of raw blocks. Source: RFC 8878, sections 3.1.1 and 3.1.1.2 */
function storedZstd(content: Uint8Array): Uint8Array {
  const header = new Uint8Array(9);
  const view = new DataView(header.buffer);
  view.setUint32(0, 0xfd2fb528, true);
  header[4] = 0xa0; // single segment, content size in four bytes
  view.setUint32(5, content.length, true);
  const parts = [header];
  const step = 100_000;
  for (let at = 0; at === 0 || at < content.length; at += step) {
    const block = content.slice(at, at + step);
    const isLast = at + step >= content.length;
    const field = (block.length << 3) | (isLast ? 1 : 0);
    parts.push(new Uint8Array([field & 255, (field >> 8) & 255, field >> 16]), block);
  }
  return concatBytes(parts);
}

/** What `deno task publish-kernel` packs, of a kernel as small as can be. */
export function bundleMembers(change: Readonly<Record<string, unknown>> = {}, vmlinux = elfExecutable()) {
  const scripts = initramfsScripts();
  const manifest = {
    name: "mine",
    distribution: "banger",
    architecture: "x86_64",
    version: "6.1.1-banger",
    sha256: sha256(vmlinux),
    source: "linux-source-6.1 6.1.1-1",
    createdAt: "2026-01-01T00:00:00.000Z",
    initramfsBaseBytes: 4,
    initramfsRevision: initramfsRevision(),
    ...change,
  };
  return [
    { path: "initramfs.cpio", content: concatBytes([new TextEncoder().encode("base"), scripts]) },
    { path: "manifest.json", content: JSON.stringify(manifest) },
    { path: "modules.ext4", content: new Uint8Array(300_000) },
    { path: "vmlinux", content: vmlinux },
  ] as const satisfies readonly TarMember[];
}

export function bundleOf(members: readonly TarMember[]): Uint8Array {
  return storedZstd(tar(members));
}

export function entryFor(bundle: Uint8Array, change: Partial<CatalogEntry> = {}): CatalogEntry {
  return {
    name: parseKernelName("mine"),
    distribution: "banger",
    architecture: "x86_64",
    version: "6.1.1-banger",
    description: "a test's kernel",
    source: { url: URL_OF_BUNDLE, sha256: sha256(bundle), sizeBytes: bundle.length },
    ...change,
  };
}

interface Answer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** The body never ends. */
  readonly hangs?: boolean;
}

/** Answers each request as `serve` says, and remembers them. */
export function scriptedHttp(serve: (request: HttpRequest) => Answer): HttpClient & { urls: string[] } {
  const urls: string[] = [];
  return {
    urls,
    send(request) {
      urls.push(request.url);
      const { status = 200, headers = {}, body = new Uint8Array(0), hangs = false } = serve(request);
      return Promise.resolve({
        status,
        header: (name) => headers[name],
        body: new ReadableStream<Uint8Array>({
          start(controller) {
            for (let at = 0; at < body.length; at += 65_536) {
              controller.enqueue(body.subarray(at, at + 65_536));
            }
            if (!hangs) return controller.close();
            request.signal?.addEventListener("abort", () => controller.error(request.signal?.reason));
          },
        }),
      });
    },
  };
}
