import assert from "node:assert/strict";
import { COMMANDS } from "../../../lib/cli/commands/all.ts";
import { cliDocument, manualPages } from "../../../scripts/reference.ts";
import { requireMachine, sbom } from "../../../scripts/release.ts";

Deno.test("every command that is shown has a place in the reference, and a manual page", () => {
  const document = cliDocument();
  const pages = manualPages({ version: "1.0.0", date: "2026-01-01" });
  for (const { path, hidden, options = [] } of COMMANDS) {
    if (hidden) continue;
    assert.ok(document.includes(`### banger ${path.join(" ")}\n`), path.join(" "));
    const page = pages.get(`${["banger", ...path].join("-")}.1`);
    assert.ok(page?.startsWith(".TH "), path.join(" "));
    for (const { flags } of options) assert.ok(document.includes(flags), flags);
  }
});

Deno.test("manual pages let no line of text begin as a request of roff", () => {
  for (const [name, page] of manualPages({ version: "1.0.0", date: "2026-01-01" })) {
    for (const line of page.split("\n")) {
      if (line.startsWith(".")) assert.match(line, /^\.(TH|SH|TP|B|BR|nf|fi)\b/, name);
    }
  }
});

Deno.test("the SBOM names every package of the lock file, with what identifies it", () => {
  const document = sbom({
    version: "1.0.0",
    createdAt: "2026-01-01T00:00:00Z",
    executableSha256: "a".repeat(64),
    runtimeSha256: "b".repeat(64),
    lock: {
      npm: {
        "zod@4.6.7": { integrity: `sha512-${btoa("x".repeat(64))}` },
        "@hono/zod-openapi@1.6.3_hono@4.13.19_zod@4.6.7": { integrity: `sha512-${btoa("y".repeat(64))}` },
      },
    },
  }) as { packages: { name: string; versionInfo: string; externalRefs?: { referenceLocator: string }[] }[] };
  assert.deepEqual(document.packages.map(({ name, versionInfo }) => `${name} ${versionInfo}`), [
    "banger 1.0.0",
    `denort ${Deno.version.deno}`,
    "zod 4.6.7",
    "@hono/zod-openapi 1.6.3",
  ]);
  assert.equal(
    document.packages[3]?.externalRefs?.[0]?.referenceLocator,
    "pkg:npm/%40hono/zod-openapi@1.6.3",
  );
});

Deno.test("a release for another processor than its runtime's is refused, and says what names the runtime", async () => {
  const other = Deno.build.arch === "x86_64" ? "aarch64" : "x86_64";
  await requireMachine(Deno.execPath(), Deno.build.arch);
  await assert.rejects(
    requireMachine(Deno.execPath(), other),
    new RegExp(`for another processor .*DENORT_BIN_${other.toUpperCase()} names`),
  );
});
