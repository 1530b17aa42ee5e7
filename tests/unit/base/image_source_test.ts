import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import {
  absoluteImageSource,
  isBareName,
  parseImageRequest,
  parseImageSource,
} from "../../../lib/base/image_source.ts";

for (
  const [text, kind, path, choice] of [
    ["oci:/a/b:tag", "oci", "/a/b", "tag"],
    ["oci:/a:b/c", "oci", "/a:b/c", undefined],
    ["oci-archive:/a.tar", "oci-archive", "/a.tar", undefined],
    ["docker-archive:/a.tar:host:5000/x:1", "docker-archive", "/a.tar", "host:5000/x:1"],
    ["tar:/a:b.tar", "tar", "/a:b.tar", undefined],
  ] as const
) {
  Deno.test(`parseImageSource() splits ${text}`, () => {
    assert.deepEqual(parseImageSource(text), { kind, path, choice });
  });
}

for (const text of ["debian-bookworm", "alpine:3.20", "host:5000/a/b@sha256:00", "tar:/a b.tar"]) {
  Deno.test(`parseImageRequest() takes ${text}`, () => assert.equal(parseImageRequest(text), text));
}

for (
  const [text, why] of [
    ["", /empty/],
    ["a b", /space/],
    ["a\u0007", /control/],
    ["tar:relative", /not absolute/],
    ["oci:", /no path/],
    ["a".repeat(1025), /longer/],
  ] as const
) {
  Deno.test(`parseImageRequest() refuses ${JSON.stringify(text.slice(0, 20))}`, () => {
    assert.throws(() => parseImageRequest(text), (thrown) => {
      assert.ok(thrown instanceof BangerError);
      assert.match(thrown.message, why);
      return thrown.code === "invalid_argument" && thrown.hint !== undefined;
    });
  });
}

Deno.test("isBareName() is for names only: what has a slash, a tag or a digest is a reference", () => {
  assert.deepEqual(["alpine", "alpine-3.20", "alpine:3", "a/b", "a@sha256:0"].map(isBareName), [
    true,
    true,
    false,
    false,
    false,
  ]);
});

Deno.test("absoluteImageSource() leaves references alone and keeps tags", () => {
  assert.equal(absoluteImageSource("alpine:3", "/work"), "alpine:3");
  assert.equal(absoluteImageSource("oci:layout:v1", "/work"), "oci:/work/layout:v1");
  assert.equal(absoluteImageSource("tar:/x.tar", "/work"), "tar:/x.tar");
});
