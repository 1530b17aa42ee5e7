import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { parsePlace, splitPath } from "../../../lib/copy/places.ts";

for (
  const [text, place] of [
    ["web:/etc/hosts", { kind: "guest", vm: "web", path: "/etc/hosts" }],
    ["web:notes", { kind: "guest", vm: "web", path: "notes" }],
    ["web:", { kind: "guest", vm: "web", path: "." }],
    ["web:a:b", { kind: "guest", vm: "web", path: "a:b" }],
    ["./web:x", { kind: "host", path: "./web:x" }],
    ["/a:b", { kind: "host", path: "/a:b" }],
    ["plain", { kind: "host", path: "plain" }],
    ["-", { kind: "stream" }],
  ] as const
) {
  Deno.test(`${text} is ${JSON.stringify(place)}`, () => assert.deepEqual(parsePlace(text), place));
}

for (const text of ["", "Web:/x", ":/x", "a b:/x"]) {
  Deno.test(`${JSON.stringify(text)} is no place`, () => assert.throws(() => parsePlace(text), BangerError));
}

for (
  const [path, parent, name, isContents] of [
    ["/a/b", "/a", "b", false],
    ["/a/b/", "/a", "b", false],
    ["/a/b//", "/a", "b", false],
    ["/a", "/", "a", false],
    ["a", ".", "a", false],
    ["-x", ".", "-x", false],
    ["/a/.", "/a/.", ".", true],
    [".", ".", ".", true],
    ["..", "..", ".", true],
    ["/", "/", ".", true],
  ] as const
) {
  Deno.test(`${path} is ${name} in ${parent}`, () =>
    assert.deepEqual(splitPath(path), { parent, name, isContents }));
}
