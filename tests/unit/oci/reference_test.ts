import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { absoluteImageSource, parseImageSource } from "../../../lib/base/image_source.ts";
import { formatPlatform, parsePlatform, platformScore } from "../../../lib/oci/model/platform.ts";
import { formatReference, parseReference } from "../../../lib/oci/model/reference.ts";
import { parseChallenges } from "../../../lib/oci/registry/challenge.ts";

const DIGEST = `sha256:${"0123456789abcdef".repeat(4)}`;

for (
  const [text, full] of [
    ["alpine", "docker.io/library/alpine:latest"],
    ["alpine:3.20", "docker.io/library/alpine:3.20"],
    ["owner/name", "docker.io/owner/name:latest"],
    ["docker.io/alpine", "docker.io/library/alpine:latest"],
    ["index.docker.io/library/alpine", "docker.io/library/alpine:latest"],
    ["ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1"],
    ["localhost/a", "localhost/a:latest"],
    ["localhost:5000/a:b", "localhost:5000/a:b"],
    ["host:5000/a", "host:5000/a:latest"],
    ["[::1]:5000/a", "[::1]:5000/a:latest"],
    ["UPPER/a", "UPPER/a:latest"],
    ["a.b/c", "a.b/c:latest"],
    ["a/b.c_d__e-f--g", "docker.io/a/b.c_d__e-f--g:latest"],
    [`alpine@${DIGEST}`, `docker.io/library/alpine@${DIGEST}`],
    [`alpine:3@${DIGEST}`, `docker.io/library/alpine:3@${DIGEST}`],
    [`host:1/a:${"t".repeat(128)}`, `host:1/a:${"t".repeat(128)}`],
  ] as const
) {
  Deno.test(`the reference ${text} is ${full}`, () => {
    assert.equal(formatReference(parseReference(text)), full);
    assert.equal(formatReference(parseReference(full)), full);
  });
}

for (
  const text of [
    "",
    "/",
    "a//b",
    "a/",
    "/a",
    "Alpine",
    "a/B",
    "a:",
    "a:.tag",
    `a:${"t".repeat(129)}`,
    "a b",
    "a\nb",
    "../a",
    "a/../b",
    "a/./b",
    "a..b/../c",
    "-a",
    "a-",
    "a___b",
    "host:port/a",
    "host:123456/a",
    "ho_st.x/a",
    "user:pw@host/a",
    "a@sha256:short",
    `a@${DIGEST.toUpperCase()}`,
    "a@",
    "https://host/a",
    `${"a".repeat(256)}`,
    "a?b",
    "a#b",
    "a%2fb",
  ]
) {
  Deno.test(`the reference ${JSON.stringify(text.slice(0, 40))} is refused`, () => {
    assert.throws(
      () => parseReference(text),
      (failure) =>
        failure instanceof BangerError && failure.code === "invalid_argument" && failure.hint !== undefined,
    );
  });
}

for (
  const [text, expected] of [
    ["alpine:3", { kind: "registry", reference: "alpine:3" }],
    ["docker://alpine:3", { kind: "registry", reference: "alpine:3" }],
    ["oci:/a/b", { kind: "oci", path: "/a/b", choice: undefined }],
    ["oci:/a/b:t", { kind: "oci", path: "/a/b", choice: "t" }],
    ["oci:/a:b/c", { kind: "oci", path: "/a:b/c", choice: undefined }],
    ["oci-archive:x.tar:v1", { kind: "oci-archive", path: "x.tar", choice: "v1" }],
    ["docker-archive:/x.tar", { kind: "docker-archive", path: "/x.tar", choice: undefined }],
    ["docker-archive:/x.tar:h:5/a/b:c", { kind: "docker-archive", path: "/x.tar", choice: "h:5/a/b:c" }],
    ["tar:/a:b.tar", { kind: "tar", path: "/a:b.tar", choice: undefined }],
  ] as const
) {
  Deno.test(`the image source ${text}`, () => assert.deepEqual(parseImageSource(text), expected));
}

Deno.test("image sources that are paths become absolute", () => {
  assert.equal(absoluteImageSource("oci:a/b:t", "/w"), "oci:/w/a/b:t");
  assert.equal(absoluteImageSource("tar:/a.tar", "/w"), "tar:/a.tar");
  assert.equal(absoluteImageSource("alpine", "/w"), "alpine");
  assert.throws(() => parseImageSource("tar:"), /it has no path/);
});

for (
  const [text, expected] of [
    ["amd64", "linux/amd64"],
    ["linux/x86_64", "linux/amd64"],
    ["linux/aarch64", "linux/arm64"],
    ["linux/arm/v6", "linux/arm/v6"],
    ["armhf", "linux/arm/v7"],
    ["LINUX/ARM64/v8", "linux/arm64/v8"],
  ] as const
) {
  Deno.test(`the platform ${text} is ${expected}`, () => {
    assert.equal(formatPlatform(parsePlatform(text)), expected);
  });
}

for (const text of ["", "/", "a/b/c/d", "linux/", "a b"]) {
  Deno.test(`the platform ${JSON.stringify(text)} is refused`, () => {
    assert.throws(() => parsePlatform(text), BangerError);
  });
}

Deno.test("an image runs on its own architecture, up to the wanted variant", () => {
  const score = (offered: string, wanted: string) =>
    platformScore(parsePlatform(offered), parsePlatform(wanted));
  assert.equal(score("arm64", "amd64"), undefined);
  assert.equal(score("windows/amd64", "linux/amd64"), undefined);
  assert.equal(score("amd64/v3", "amd64"), undefined);
  assert.equal(score("linux/amd64/v3", "linux/amd64"), undefined);
  assert(score("linux/amd64/v2", "linux/amd64/v3")! > score("linux/amd64", "linux/amd64/v3")!);
  assert.notEqual(score("linux/arm64/v8", "linux/arm64"), undefined);
  assert.notEqual(score("linux/arm64", "linux/arm64/v8"), undefined);
  assert.equal(score("linux/arm/v7", "linux/arm/v6"), undefined);
  assert.equal(score("linux/arm/weird", "linux/arm/v7"), undefined);
});

for (
  const [header, expected] of [
    [`Bearer realm="https://a/b",service="s"`, [["bearer", { realm: "https://a/b", service: "s" }]]],
    [`Basic realm=x`, [["basic", { realm: "x" }]]],
    [`Basic realm="a, b", Bearer realm="c\\"d",scope="e f"`, [
      ["basic", { realm: "a, b" }],
      ["bearer", { realm: 'c"d', scope: "e f" }],
    ]],
    [`BEARER Realm = "x" , Service = y`, [["bearer", { realm: "x", service: "y" }]]],
    ["Negotiate", [["negotiate", {}]]],
    ["", []],
    ['Bearer realm="unterminated', [["bearer", {}], ["realm", {}]]],
  ] as const
) {
  Deno.test(`the challenge ${header}`, () => {
    const parsed = parseChallenges(header).map((
      { scheme, parameters },
    ) => [scheme, Object.fromEntries(parameters)]);
    assert.deepEqual(parsed, expected);
  });
}
