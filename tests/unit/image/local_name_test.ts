import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { parseImageName } from "../../../lib/base/names.ts";
import { localName, nameCandidates } from "../../../lib/image/local_name.ts";

const DIGEST = `sha256:${"1a2b3c4d".repeat(8)}`;

for (
  const [source, name] of [
    ["docker.io/library/alpine:3.20", "alpine-3.20"],
    ["alpine:latest", "alpine"],
    ["127.0.0.1:5000/team/web:V1_x", "web-v1_x"],
    [`ghcr.io/owner/app@${DIGEST}`, "app-1a2b3c4d"],
    ["oci:/srv/layout:v1", "layout-v1"],
    ["oci:/srv/layout/", "layout"],
    ["oci-archive:/srv/My Image.oci.tar", "my-image"],
    ["docker-archive:/srv/saved.tar:library/web:2", "web-2"],
    ["docker-archive:/srv/saved.tar.gz", "saved"],
    ["tar:/srv/rootfs.tar.zst", "rootfs"],
    ["tar:/srv/…", "image"],
  ] as const
) {
  Deno.test(`localName() calls ${source} ${name}`, () => assert.equal(localName(source), name));
}

Deno.test("localName() refuses what is no reference", () => {
  assert.throws(() => localName("a/B:c"), BangerError);
});

Deno.test("nameCandidates() adds the digest, then numbers", () => {
  const names = nameCandidates(parseImageName("web"), DIGEST);
  assert.deepEqual([1, 2, 3].map(() => names.next().value), ["web", "web-1a2b3c4d", "web-1a2b3c4d-2"]);
});
