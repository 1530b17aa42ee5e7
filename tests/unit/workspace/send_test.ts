/** Which way a repository goes into a guest. */
import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { realHost } from "../../../lib/sys/host.ts";
import type { GuestSession, SendArchive } from "../../../lib/workspace/guest.ts";
import { sendRepository } from "../../../lib/workspace/send.ts";

const NO_ROOM = 45;

/** A guest whose commands end with these codes, one after the other. @returns what went to each, and how much */
function guest(...codes: number[]) {
  const runs: { archive: string; stdinBytes: number }[] = [];
  const start = (argv: readonly string[]): Promise<GuestSession> => {
    const run = { archive: argv.at(-2)!, stdinBytes: 0 };
    runs.push(run);
    const { promise: isFed, resolve } = Promise.withResolvers<void>();
    return Promise.resolve({
      async finish() {
        await isFed;
        return codes.shift() ?? 0;
      },
      writeStdin: (bytes) => Promise.resolve(void (run.stdinBytes += bytes.length)),
      closeStdin: () => Promise.resolve(resolve()),
      [Symbol.dispose]: () => resolve(),
    });
  };
  return { runs, start };
}

const send = (start: ReturnType<typeof guest>["start"], sendArchive?: SendArchive) =>
  sendRepository(realHost(), { start, sendArchive }, [], 0, "/home");
const NO_STDIN = { archive: "/home/.banger-repo.tar", stdinBytes: 0 };

async function sizeOf(content: AsyncIterable<Uint8Array>): Promise<number> {
  let bytes = 0;
  for await (const part of content) bytes += part.length;
  return bytes;
}

Deno.test("a repository goes as a file where that can be, else as stdin", async () => {
  const asFile = guest();
  let archiveBytes = 0;
  await send(asFile.start, async (path, content) => {
    assert.equal(path, NO_STDIN.archive);
    archiveBytes = await sizeOf(content());
    return true;
  });
  assert.deepEqual(asFile.runs, [NO_STDIN]);
  assert.ok(archiveBytes > 0);
  const asStdin = { archive: "", stdinBytes: archiveBytes };

  const noSuchWay = guest();
  await send(noSuchWay.start);
  assert.deepEqual(noSuchWay.runs, [asStdin]);

  const notNow = guest();
  await send(notNow.start, () => Promise.resolve(false));
  assert.deepEqual(notNow.runs, [asStdin]);

  const fullDisk = guest();
  await send(fullDisk.start, async (_path, content) => {
    await sizeOf(content());
    throw new BangerError("guest_failed", "Cannot write all of it: no space is left in the guest");
  });
  assert.deepEqual(fullDisk.runs, [asStdin]);

  const noRoomBeside = guest(NO_ROOM);
  await send(noRoomBeside.start, async (_path, content) => await sizeOf(content()) > 0);
  assert.deepEqual(noRoomBeside.runs, [NO_STDIN, asStdin]);
});

Deno.test("what is no guest's failure is not tried another way", async () => {
  const { runs, start } = guest();
  const cancelled = new BangerError("cancelled", "Cannot send the repository: interrupted");
  await assert.rejects(send(start, () => Promise.reject(cancelled)), cancelled);
  assert.deepEqual(runs, []);
});
