import assert from "node:assert/strict";
import { banger, ok, refused, vmNames } from "./fixture.ts";

for (
  const [line, code, pattern] of [
    ["vm exec nope -- true", 3, /Cannot find VM nope[\s\S]*banger vm list --all/],
    ["vm show nope", 3, /Cannot find VM nope/],
    ["vm start nope", 3, /Cannot find VM nope/],
    ["vm rm nope", 3, /Cannot find VM nope/],
    ["vm logs nope", 3, /Cannot find VM nope/],
    ["image show nope", 3, /Cannot find image "nope"/],
    ["image rm nope", 3, /Cannot find image "nope"/],
    ["vm create --image nope", 3, /nope/],
    ["vm create --kernel nope", 3, /nope/],
    ["kernel rm nope", 3, /nope/],
    ["vm create --name Web", 2, /DNS label/],
    ["vm create --name -x", 2, /./],
    ["vm create --memory lots", 2, /as a size/],
    ["vm create --memory 1M", 2, /--memory/],
    ["vm create --cpus 0", 2, /--cpus/],
    ["vm create --cpus two", 2, /whole number/],
    ["vm create --disk 1k", 2, /--disk/],
    ["vm create --env novalue", 2, /NAME=VALUE/],
    ["vm create --network bridge9", 2, /--network/],
    ["vm create --frobnicate", 2, /unknown option/],
    ["vm run --", 2, /none stands behind --/],
    ["vm exec a", 2, /none stands behind --/],
    ["vm run", 2, /standard input is no terminal/],
    ["kernel import x --deb /nonexistent.deb", 3, /nonexistent/],
    ["vm proxy x 0", 2, /as a port/],
  ] as const
) {
  Deno.test(`banger ${line}: a clear refusal with exit code ${code}`, async () => {
    await refused(line.split(" "), code, pattern);
    assert.deepEqual(await vmNames(), [], "nothing is left behind");
  });
}

Deno.test("a corrupt package is refused and leaves no kernel", async () => {
  const path = await Deno.makeTempFile({ suffix: ".deb" });
  await Deno.writeTextFile(path, "!<arch>\nthis is no package");
  const result = await banger(["kernel", "import", "broken", "--deb", path]);
  await Deno.remove(path);
  assert.equal(result.code, 6, result.stderr);
  assert.doesNotMatch(await ok(["kernel", "list"]), /broken/);
});
