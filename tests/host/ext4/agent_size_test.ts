import assert from "node:assert/strict";
import { ext4SizeOf } from "../../../agent/disks.ts";
import { requireTools, runOk, temporaryDirectory } from "../guest_files/tools.ts";

for (
  const [options, blocks, blockBytes] of [
    [["-b", "4096", "-O", "64bit"], 20_000n, 4096n],
    [["-b", "1024", "-O", "^64bit"], 20_000n, 1024n],
  ] as const
) {
  Deno.test(`the agent reads mke2fs's size: ${options.join(" ")}`, async () => {
    await requireTools("mke2fs");
    await using directory = await temporaryDirectory();
    const disk = `${directory.path}/disk`;
    await runOk("mke2fs", ["-q", "-t", "ext4", ...options, disk, String(blocks)]);
    assert.deepEqual(ext4SizeOf((await Deno.readFile(disk)).subarray(0, 2048)), { blocks, blockBytes });
  });
}

Deno.test("the agent takes no other disk for an ext4 file system", () => {
  assert.equal(ext4SizeOf(new Uint8Array(2048)), undefined);
});
