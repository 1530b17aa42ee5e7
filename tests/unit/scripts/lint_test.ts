import assert from "node:assert/strict";
import { deadExports } from "../../../scripts/lint/exports.ts";
import { isAllowedLicence } from "../../../scripts/lint/licences.ts";

Deno.test("dead exports: what nobody imports, and what only tests do without saying so", () => {
  const sources = [
    {
      path: "lib/a/a.ts",
      text: [
        "export function used(): Shape { return 1 as never; }",
        "export interface Shape {}",
        "export const late = 1;",
        "export class Dead {}",
        "/** For a reason. Exported for tests. */",
        "export function judged(): void {}",
        "export async function onlyTests(): Promise<void> {}",
        "export type Unused = string;",
      ].join("\n"),
    },
    {
      path: "lib/b/b.ts",
      text: 'import { type Shape as S, used } from "../a/a.ts";\nconst { late } = await import("../a/a.ts");',
    },
    { path: "tests/unit/a_test.ts", text: 'import {\n  judged,\n  onlyTests,\n} from "../../lib/a/a.ts";' },
    { path: "lib/c/all.ts", text: "export const one = 1;" },
    { path: "lib/c/user.ts", text: 'import * as all from "./all.ts";' },
  ];
  assert.deepEqual(deadExports(sources), [
    "lib/a/a.ts: Dead",
    "lib/a/a.ts: onlyTests (only tests)",
    "lib/a/a.ts: Unused",
  ]);
});

for (
  const [licence, isAllowed] of [
    ["MIT", true],
    ["(MIT OR GPL-3.0)", true],
    ["MIT AND GPL-3.0", false],
    [{ type: "ISC" }, true],
    ["UNLICENSED", false],
    [undefined, false],
    ["SEE LICENSE IN LICENSE.md", false],
  ] as const
) {
  Deno.test(`licences: ${JSON.stringify(licence)} is ${isAllowed ? "allowed" : "refused"}`, () => {
    assert.equal(isAllowedLicence(licence), isAllowed);
  });
}
