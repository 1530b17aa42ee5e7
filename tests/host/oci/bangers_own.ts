/** What conversion adds to an image's tree (docs/architecture.md, "Guest contract"). */
import assert from "node:assert/strict";
import type { Listing } from "./listing.ts";

const FILES = [
  "etc/modules-load.d/banger-vsock.conf",
  "usr/local/bin/banger-vsock-agent",
  "usr/local/libexec/banger-agent-start",
  "usr/local/libexec/banger-first-boot",
  "usr/local/libexec/banger-network-bootstrap",
  "usr/local/lib/banger/[^/]+",
  "var/lib/banger/first-boot-pending",
  "etc/systemd/system/(multi-user\\.target\\.wants/)?banger-(network|vsock-agent|first-boot)\\.service",
];
const MOUNT_POINTS = ["dev", "proc", "sys", "run", "root", "tmp"];
const PARENTS = [
  "etc(/modules-load\\.d|/systemd(/system(/multi-user\\.target\\.wants)?)?)?",
  "usr(/local(/bin|/libexec|/lib(/banger)?)?)?",
  "var(/lib(/banger)?)?",
];

const BANGERS_OWN = new RegExp(`^(${[...FILES, ...MOUNT_POINTS, ...PARENTS].join("|")})$`);

/** All that is expected is there, as it is expected, and nothing else but banger's own. */
export function assertHolds(listing: Listing, expected: Listing): void {
  const extra = Object.keys(listing).filter((path) => !Object.hasOwn(expected, path));
  assert.deepEqual(extra.filter((path) => !BANGERS_OWN.test(path)), []);
  const rest = Object.fromEntries(Object.entries(listing).filter(([path]) => Object.hasOwn(expected, path)));
  // One line each: two trees of thousands of entries would take minutes to show.
  const differing = Object.keys(expected).filter((path) => rest[path] !== expected[path]);
  assert.deepEqual(
    differing.slice(0, 20).map((path) => `${path}: ${rest[path]}`),
    differing.slice(0, 20).map((path) => `${path}: ${expected[path]}`),
  );
}
