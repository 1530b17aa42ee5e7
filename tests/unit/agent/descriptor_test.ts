import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { DescriptorStream } from "../../../agent/descriptor.ts";
import { bytesOf, checked, F_SETPIPE_SZ, O_CLOEXEC, openLibc } from "../../../agent/libc.ts";
import { Poller } from "../../../agent/poller.ts";

const STEP_BYTES = 4096;
const PIPE_BYTES = 1024 * 1024;

Deno.test("readAll takes what is there in steps, in order, whatever the sizes", async () => {
  using libc = openLibc();
  await using poller = new Poller(libc);
  const ends = new Int32Array(2);
  checked(libc, "pipe2", libc.call.pipe2(bytesOf(ends), O_CLOEXEC));
  libc.call.fcntl(ends[0]!, F_SETPIPE_SZ, PIPE_BYTES);
  const reader = new DescriptorStream({ libc, poller }, ends[0]!);
  const writer = new DescriptorStream({ libc, poller }, ends[1]!);
  try {
    const sent = new Uint8Array(700_001).map((_, i) => (i * 31 + (i >> 9)) & 0xff);
    const into = new Uint8Array(200_003);
    for (const wanted of [1, 4095, 4096, 4097, 60_000, 131_072, 131_073, 200_003, 700_001]) {
      // As much as the pipe holds.
      const count = await writer.write(sent.subarray(0, wanted));
      const parts: Uint8Array[] = [];
      for (let left = count; left > 0;) {
        // Not at the buffer's own start: as where a frame's beginning lies there already.
        const read = await reader.readAll(into.subarray(3), STEP_BYTES);
        assert.ok(read !== null && read > 0);
        parts.push(into.slice(3, 3 + read));
        left -= read;
      }
      assert.ok(Buffer.concat(parts).equals(sent.subarray(0, count)), `${count} bytes`);
    }
    writer.close();
    assert.equal(await reader.readAll(into, STEP_BYTES), null);
  } finally {
    reader.close();
    writer.close();
  }
});
