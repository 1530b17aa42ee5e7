import assert from "node:assert/strict";
import { byteStringOfText, type DirectoryInode, emptyDirectory } from "../../../lib/base/tree.ts";
import { insertFile, insertSymlink } from "../../../lib/base/tree_paths.ts";
import { detectTraits, type ImageTraits } from "../../../lib/image/detect.ts";

/** A name alone is an empty file; `name -> target` a symlink. */
function tree(entries: readonly string[]): DirectoryInode {
  const root = emptyDirectory();
  for (const entry of entries) {
    const [path, target] = entry.split(" -> ").map(byteStringOfText);
    if (target !== undefined) insertSymlink(root, path!, target);
    else insertFile(root, path!, { sizeBytes: 0, token: undefined });
  }
  return root;
}

const USRMERGE = ["/bin -> usr/bin", "/sbin -> usr/sbin", "/lib -> usr/lib", "/lib64 -> usr/lib64"];
const CASES: [string, string[], ImageTraits][] = [
  ["an empty image", [], { init: "none", libc: "none", hasSshServer: false }],
  [
    "Debian with systemd and sshd",
    [
      "/usr/lib/systemd/systemd",
      "/usr/sbin/init -> /lib/systemd/systemd",
      "/usr/lib/x86_64-linux-gnu/libc.so.6",
      "/usr/sbin/sshd",
      ...USRMERGE,
    ],
    { init: "systemd", libc: "glibc", hasSshServer: true },
  ],
  [
    "systemd that nobody linked to /sbin/init",
    ["/lib/systemd/systemd", "/lib64/libc.so.6"],
    { init: "systemd", libc: "glibc", hasSshServer: false },
  ],
  [
    "a container image of Alpine",
    ["/bin/busybox", "/sbin/init -> /bin/busybox", "/lib/ld-musl-x86_64.so.1"],
    { init: "none", libc: "musl", hasSshServer: false },
  ],
  [
    "Alpine with OpenRC",
    ["/bin/busybox", "/sbin/init -> /bin/busybox", "/sbin/openrc", "/lib/ld-musl-x86_64.so.1"],
    { init: "other", libc: "musl", hasSshServer: false },
  ],
  [
    "Alpine with a glibc layer beside its own",
    ["/lib/ld-musl-x86_64.so.1", "/usr/lib/libc.so.6"],
    { init: "none", libc: "musl", hasSshServer: false },
  ],
  [
    "sysvinit beside an installed systemd",
    ["/sbin/init", "/lib/systemd/systemd"],
    { init: "other", libc: "none", hasSshServer: false },
  ],
  ["one static program", ["/app"], { init: "none", libc: "none", hasSshServer: false }],
  [
    "an init that leads nowhere",
    ["/sbin/init -> /nonexistent"],
    { init: "none", libc: "none", hasSshServer: false },
  ],
];
for (const [what, entries, expected] of CASES) {
  Deno.test(`detectTraits() knows ${what}`, () => assert.deepEqual(detectTraits(tree(entries)), expected));
}
