/** What must become of images that are pulled. */
import assert from "node:assert/strict";
import { assertHolds } from "../host/oci/bangers_own.ts";
import { listDisk } from "../host/oci/disk_listing.ts";
import { listDirectory, type Listing } from "../host/oci/listing.ts";
import { umociUnpack } from "../host/oci/tools.ts";
import { banger, ok, STATE } from "./fixture.ts";
import { BIG_FILE, type Workshop } from "./registry_images.ts";

/** Pulls and compares what is on the disk with what umoci unpacks. @returns that */
export async function pullAndCompare(
  { path, layout }: Workshop,
  tag: string,
  reference: string,
  name: string,
): Promise<{ expected: Listing; rootfs: string }> {
  assert.equal(await ok(["image", "pull", "--quiet", "--name", name, reference]), `${name}\n`);
  const { id } = JSON.parse(await ok(["image", "show", name, "--json"])) as { id: string };
  const rootfs = `${STATE}/images/${id}/rootfs.ext4`;
  const bundle = `${path}/bundle-${tag}`;
  const expected = await listDirectory(await umociUnpack(layout, tag, bundle));
  await Deno.remove(bundle, { recursive: true });
  // Hashing holes on the host would take longer than all else.
  const listing = await listDisk(rootfs, ({ content }) => content.sizeBytes < 2 ** 30);
  delete listing[BIG_FILE];
  assertHolds(listing, expected);
  return { expected, rootfs };
}

export function removingImage(name: string): AsyncDisposable {
  return {
    async [Symbol.asyncDispose]() {
      await banger(["image", "rm", name]);
    },
  };
}
