/** A recipe that is given up half-way. What a whole one gives is judged in tests/smoke/12_default_image_test.ts. */
import assert from "node:assert/strict";
import type { HostPath } from "../../../lib/base/brand.ts";
import type { Progress } from "../../../lib/base/host.ts";
import type { ImageSources } from "../../../lib/image/sources.ts";
import { ImageService } from "../../../lib/image/service.ts";
import { Store } from "../../../lib/store/store.ts";
import { host, requireTools, run, temporaryDirectory } from "../guest_files/tools.ts";

const SILENT: Progress = { stage: () => {}, update: () => {}, note: () => {} };
const unused = () => Promise.reject(new Error("a recipe asks no registry"));
const NO_SOURCES: ImageSources = { find: unused, findStored: unused, prune: unused };

function makeService(directory: string, store: Store): ImageService {
  return new ImageService(host, {
    paths: { imagesDirectory: `${directory}/images` as HostPath },
    images: store.images,
    agent: {
      buildId: "test-build",
      open: () => ReadableStream.from([new Uint8Array(5_000_000).fill(0x41)]),
    },
    sources: NO_SOURCES,
    platform: "linux/amd64",
  });
}

/** How far it is: nothing but its temporary directory, or files in the new root. */
for (const point of ["", "/mmdebstrap.*/etc"]) {
  Deno.test(`a recipe cancelled ${point ? "in the middle" : "at once"} leaves nothing`, async () => {
    await requireTools("mmdebstrap");
    await using directory = await temporaryDirectory();
    using store = Store.open(`${directory.path}/state.db`);
    const service = makeService(directory.path, store);
    const before = await matching("");
    const controller = new AbortController();
    const pull = service.pull("debian-bookworm", SILENT, controller.signal);
    let hasFailed = false;
    pull.catch(() => hasFailed = true); // seen below
    while (!hasFailed && (await matching(point)).length <= (point ? 0 : before.length)) {
      await host.clock.sleep(20);
    }
    controller.abort(new Error("enough"));
    await assert.rejects(pull, /enough/);
    assert.deepEqual([...Deno.readDirSync(`${directory.path}/images`)], []);
    assert.deepEqual(service.list(), []);
    assert.deepEqual(await matching(""), before);
  });
}

/** @param rest a pattern below a recipe's temporary directory */
async function matching(rest: string): Promise<string[]> {
  const { stdout } = await run("sh", ["-c", `ls -d /tmp/banger-recipe.*${rest} 2> /dev/null`]);
  return stdout.split("\n").filter(Boolean);
}
