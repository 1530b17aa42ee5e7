/** Our decoder against what zstd itself writes, and against damage. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { BangerError } from "../../../lib/base/errors.ts";
import { decompress } from "../../../lib/oci/compression/decompress.ts";
import { inPieces } from "../../unit/oci/archive.ts";
import { run, temporaryDirectory } from "./tools.ts";

async function hashOf(input: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of decompress(input)) hash.update(chunk);
  return hash.digest("hex");
}

/** Content of different kinds: code, text, noise, runs, repeats near and far, almost nothing. */
async function samples(directory: string): Promise<string[]> {
  await run("sh", [
    "-c",
    `head -c 1000000 "$(command -v skopeo)" > code
cat /usr/share/perl/*/unicore/*.pl /usr/lib/python3*/*.py /etc/services 2>/dev/null | head -c 1000000 > text || cat /etc/* > text 2>/dev/null || true
head -c 1000000 /dev/urandom > noise
head -c 3000000 /dev/zero > zeros
(cat noise; cat zeros; cat noise; head -c 100000 text; cat noise) > far
: > empty
printf x > one
printf 'abcabcabcabcabcabcabc' > few
seq 1 100000 > numbers
`,
  ], { cwd: directory });
  return ["code", "text", "noise", "zeros", "far", "empty", "one", "few", "numbers"];
}

const OPTIONS = [["-1"], ["-3"], ["--fast=5"], ["-9", "--no-check"], ["-19"], [
  "-22",
  "--ultra",
  "--long=26",
]];

Deno.test("what zstd compresses comes out again, at every level, whole or as a stream", async () => {
  await using directory = await temporaryDirectory();
  for (const name of await samples(directory.path)) {
    const path = `${directory.path}/${name}`;
    const expected = createHash("sha256").update(await Deno.readFile(path)).digest("hex");
    for (const options of OPTIONS) {
      await run("zstd", ["-q", "-f", ...options, path, "-o", `${path}.zst`]);
      const whole = await Deno.readFile(`${path}.zst`);
      assert.equal(await hashOf(inPieces(whole, 65_536)), expected, `${name} ${options.join(" ")}`);
      const stream = await run("sh", ["-c", `zstd -q -c ${options.join(" ")} < "$0"`, path]);
      assert.equal(
        await hashOf(inPieces(stream, 5000)),
        expected,
        `${name} ${options.join(" ")} as a stream`,
      );
    }
  }
});

Deno.test("Z5 damaged frames end in an error or in other content, never in anything else", async () => {
  await using directory = await temporaryDirectory();
  await samples(directory.path);
  await run("sh", ["-c", "head -c 200000 text | zstd -q -19 -c > a.zst; seq 1 20000 | zstd -q -c > b.zst"], {
    cwd: directory.path,
  });
  let refused = 0;
  let seed = 12345;
  const random = (below: number) => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) % below;
  for (const name of ["a.zst", "b.zst"]) {
    const good = await Deno.readFile(`${directory.path}/${name}`);
    for (let round = 0; round < 400; round++) {
      const bad = good.slice(0, random(10) === 0 ? random(good.length) : good.length);
      // Most often near the beginning, where the tables are.
      for (let i = 0; i <= random(3); i++) bad[random(random(2) === 0 ? 300 : bad.length)] = random(256);
      try {
        await hashOf(inPieces(bad, 4096));
      } catch (failure) {
        assert(failure instanceof BangerError, `round ${round}: ${failure}`);
        refused++;
      }
    }
  }
  assert(refused > 200, `only ${refused} of 800 were refused`);
});
