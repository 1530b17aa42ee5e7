import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { openLibc } from "../../../agent/libc.ts";
import { Poller } from "../../../agent/poller.ts";
import { openSerialPort } from "../../../agent/serial_port.ts";

Deno.test("a port gives what was written in order: messages, bulk data, and messages right behind it", async () => {
  const directory = await Deno.makeTempDir({ prefix: "banger-port-" });
  // Opened for both, a FIFO gives back what it takes.
  const path = `${directory}/port`;
  await new Deno.Command("mkfifo", { args: [path] }).output();
  using libc = openLibc();
  await using poller = new Poller(libc);
  const port = openSerialPort({ libc, poller }, path);
  try {
    const bytes = new Uint8Array(60_000).map((_, i) => (i * 13 + (i >> 7)) & 0xff);
    const into = new Uint8Array(100_000);
    for (const count of [1, 17, 60_000, 17, 4096, 1, 40_000, 17]) {
      const reading = port.read(into);
      reading.catch(() => {});
      assert.equal(await port.write(bytes.subarray(0, count)), count);
      let filled = await reading ?? 0;
      while (filled < count) filled += await port.read(into.subarray(filled)) ?? 0;
      assert.ok(Buffer.from(into.subarray(0, filled)).equals(bytes.subarray(0, count)), `${count} bytes`);
    }
  } finally {
    port.close();
    await Deno.remove(directory, { recursive: true });
  }
});
