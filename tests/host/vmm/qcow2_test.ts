import assert from "node:assert/strict";
import { writeOverlay } from "../../../lib/vmm/qcow2.ts";
import { host } from "./tiny_guest.ts";

const GIB = 2 ** 30;

async function qemuImg(...args: string[]): Promise<string> {
  assert.ok(await host.processes.which("qemu-img"), "this test needs qemu-img: apt-get install qemu-utils");
  const { code, stdout, stderr } = await host.processes.run({ program: "qemu-img", args }, {
    timeoutMs: 60_000,
  });
  assert.equal(code, 0, `qemu-img ${args.join(" ")}: ${stdout}${stderr}`);
  return stdout;
}

/** Sizes in bytes of the image, and of the overlay over it. */
const SIZES = [
  [512, 512],
  [1_000_448, 1_000_448],
  [8 * GIB, 8 * GIB],
  [GIB, 100 * GIB],
  // The L1 table needs more than one cluster.
  [GIB, 6 * 1024 * GIB],
] as const;

for (const [imageBytes, overlayBytes] of SIZES) {
  Deno.test(`qemu-img accepts an overlay of ${overlayBytes} bytes over ${imageBytes}`, async () => {
    const directory = await Deno.makeTempDir({ prefix: "banger-vmm-" });
    try {
      const image = `${directory}/rootfs.ext4`;
      await using file = await host.files.open(image, { write: true, createNew: true });
      await file.truncate(imageBytes);
      const overlay = `${directory}/root.qcow2`;
      await writeOverlay(host, overlay, { backingPath: image, virtualSizeBytes: overlayBytes });
      const check = JSON.parse(await qemuImg("check", "--output=json", overlay));
      assert.equal(check["check-errors"], 0);
      assert.equal(check.leaks ?? 0, 0);
      assert.equal(check.corruptions ?? 0, 0);
      const info = JSON.parse(await qemuImg("info", "--output=json", overlay));
      assert.equal(info["virtual-size"], overlayBytes);
      assert.equal(info["backing-filename"], image);
      assert.equal(info["backing-filename-format"], "raw");
      assert.equal(info["format-specific"].data["lazy-refcounts"], false);
      assert.equal(info["dirty-flag"], false);
      if (imageBytes === overlayBytes) await qemuImg("compare", "-f", "qcow2", "-F", "raw", overlay, image);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
}

Deno.test("writeOverlay() refuses an overlay smaller than its image, and an overlay that exists", async () => {
  const directory = await Deno.makeTempDir({ prefix: "banger-vmm-" });
  try {
    const image = `${directory}/image`;
    await Deno.writeFile(image, new Uint8Array(1024));
    const overlay = `${directory}/overlay`;
    const spec = { backingPath: image, virtualSizeBytes: 1024 };
    await assert.rejects(writeOverlay(host, overlay, { ...spec, virtualSizeBytes: 512 }), /has 1024/);
    await assert.rejects(
      writeOverlay(host, overlay, { ...spec, backingPath: `${image}x` }),
      /does not exist/,
    );
    assert.equal(await host.files.stat(overlay), undefined);
    await writeOverlay(host, overlay, spec);
    const before = await Deno.readFile(overlay);
    await assert.rejects(writeOverlay(host, overlay, spec), /exists already/);
    assert.deepEqual(await Deno.readFile(overlay), before);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
