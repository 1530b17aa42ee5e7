import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { materializeCompanion, removeOtherBuilds, runtimeSizeBytes } from "../../../lib/cli/companions.ts";
import { realHost } from "../../../lib/sys/host.ts";

function elfHeader(sectionTableOffset: number, entrySize: number, entries: number): Uint8Array {
  const header = new Uint8Array(64);
  const view = new DataView(header.buffer);
  view.setUint32(0, 0x7f454c46);
  view.setUint8(4, 2);
  view.setBigUint64(40, BigInt(sectionTableOffset), true);
  view.setUint16(58, entrySize, true);
  view.setUint16(60, entries, true);
  return header;
}

Deno.test("the runtime ends where its section header table does", () => {
  assert.equal(runtimeSizeBytes(elfHeader(85_184_000, 64, 37)), 85_184_000 + 64 * 37);
});

for (
  const [what, header] of [["empty", new Uint8Array(0)], [
    "a script",
    new TextEncoder().encode("#!/bin/sh\n".repeat(9)),
  ]] as const
) {
  Deno.test(`what is no ELF file (${what}) is refused`, () => {
    assert.throws(() => runtimeSizeBytes(header), BangerError);
  });
}

Deno.test("a companion is the runtime and its own tail, made once, and other builds go", async () => {
  const { files } = realHost();
  const directory = await Deno.makeTempDir({ prefix: "banger-companions-" });
  try {
    const header = elfHeader(64, 64, 1);
    const runtime = new Uint8Array(128).fill(1);
    runtime.set(header);
    await Deno.writeFile(`${directory}/banger`, new Uint8Array([...runtime, 9, 9, 9]));
    await Deno.writeFile(`${directory}/tail`, new Uint8Array([7, 8]));
    await Deno.mkdir(`${directory}/bin/new`, { recursive: true });
    await Deno.mkdir(`${directory}/bin/old`);
    const target = `${directory}/bin/new/bangerd`;
    await materializeCompanion(files, `${directory}/banger`, `${directory}/tail`, target);
    assert.deepEqual(await Deno.readFile(target), new Uint8Array([...runtime, 7, 8]));
    assert.equal(((await Deno.stat(target)).mode ?? 0) & 0o777, 0o755);
    await Deno.writeFile(`${directory}/tail`, new Uint8Array([0]));
    await materializeCompanion(files, `${directory}/banger`, `${directory}/tail`, target);
    assert.equal((await Deno.stat(target)).size, 130, "one that is there is left alone");
    await removeOtherBuilds(files, `${directory}/bin`, "new");
    assert.deepEqual([...Deno.readDirSync(`${directory}/bin`)].map(({ name }) => name), ["new"]);
    await assert.rejects(
      materializeCompanion(files, `${directory}/banger`, `${directory}/none`, `${directory}/bin/new/x`),
    );
    assert.deepEqual(
      [...Deno.readDirSync(`${directory}/bin/new`)].map(({ name }) => name),
      ["bangerd"],
      "a failure leaves nothing",
    );
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
