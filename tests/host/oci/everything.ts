/** A root file system with one of everything that a tree can have, and what later layers do to it. */
import assert from "node:assert/strict";
import { run } from "./tools.ts";

/** A root file system with one of everything, made by the shell. */
export const MAKE_LOWER = `
set -e
mkdir -p etc usr/bin usr/lib var/spool opt/deep/er tmp
ln -s usr/bin bin
ln -s ../usr/lib lib
cp /bin/busybox usr/bin/busybox
ln usr/bin/busybox usr/bin/sh
ln -s busybox usr/bin/ls
ln usr/bin/ls usr/bin/hardlinked-symlink
chmod 4755 usr/bin/busybox
chmod 1777 tmp
chown 70000:4000000000 etc
printf 'root:x:0:0::/root:/bin/sh\\n' > etc/passwd
chown 0:42 etc/passwd; chmod 640 etc/passwd
mknod usr/null c 1 3
mknod usr/disk b 259 1048575
mkfifo usr/pipe
printf x > "$(printf 'usr/latin\\351')"
printf y > "$(printf 'usr/nfc\\303\\251')"
printf z > "$(printf 'usr/nfde\\314\\201')"
printf n > "$(printf 'usr/new\\nline')"
printf A > usr/case; printf B > usr/CASE
printf long > "usr/$(printf 'n%.0s' $(seq 1 255))"
d=usr; for i in $(seq 1 20); do d="$d/directory-with-a-long-name-$i"; done; mkdir -p "$d"; printf deep > "$d/f"
ln -s "$d/f" usr/long-target
truncate -s 3M usr/sparse; printf end >> usr/sparse
touch -d '1969-12-31T23:59:58.25Z' usr/before-1970
touch -d '2024-05-06T07:08:09.987654321Z' usr/bin usr etc opt/deep
`;

/** Sets attributes by libc: no tool for it is sure to be there. */
function setXattr(path: string, name: string, value: Uint8Array): void {
  const text = (value: string) => Uint8Array.from(new TextEncoder().encode(`${value}\0`));
  const libc = Deno.dlopen("libc.so.6", {
    lsetxattr: { parameters: ["buffer", "buffer", "buffer", "usize", "i32"], result: "i32" },
  });
  const result = libc.symbols.lsetxattr(
    text(path),
    text(name),
    Uint8Array.from(value),
    BigInt(value.length),
    0,
  );
  libc.close();
  assert.equal(result, 0, `lsetxattr ${name} on ${path}`);
}

/** A file capability, an access list, a binary value, and a value that leaves the inode. */
export function setLowerXattrs(root: string): void {
  const capability = Uint8Array.from([1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  setXattr(`${root}/usr/bin/busybox`, "security.capability", capability);
  setXattr(`${root}/etc`, "user.note", new TextEncoder().encode("a=b\nc"));
  setXattr(`${root}/usr/case`, "user.long", Uint8Array.from({ length: 1500 }, (_, at) => at * 7));
  // Version 2, then tag, permissions and id of each entry: rw- for the owner and user 1000, r-- for others.
  const entries = [[1, 6, -1], [2, 6, 1000], [4, 4, -1], [16, 6, -1], [32, 4, -1]];
  const acl = new DataView(new ArrayBuffer(4 + entries.length * 8));
  acl.setUint32(0, 2, true);
  for (const [at, [tag, permissions, id]] of entries.entries()) {
    acl.setUint16(4 + at * 8, tag!, true);
    acl.setUint16(6 + at * 8, permissions!, true);
    acl.setInt32(8 + at * 8, id!, true);
  }
  setXattr(`${root}/usr/CASE`, "system.posix_acl_access", new Uint8Array(acl.buffer));
}

/** @param more for cases that GNU tar writes and umoci does not read */
export async function makeLower(
  directory: string,
  format: string,
  more: { readonly script: string; readonly options: readonly string[] } = { script: "", options: [] },
): Promise<string> {
  const root = `${directory}/lower-${format}`;
  await Deno.mkdir(root);
  await run("sh", ["-c", MAKE_LOWER + more.script], { cwd: root });
  setLowerXattrs(root);
  const tar = `${directory}/lower-${format}.tar`;
  const xattrs = format === "gnu" ? [] : ["--xattrs", "--xattrs-include=*"];
  await run("tar", [
    `--format=${format}`,
    ...more.options,
    ...xattrs,
    "--sort=name",
    "-C",
    root,
    "-cf",
    tar,
    ".",
  ]);
  return tar;
}

/** What a build's later steps do; umoci makes whiteouts of it. */
export const CHANGES = [
  `set -e
rm usr/null usr/bin/sh
rm -r opt/deep
rm -r var; printf 'now a file' > var
rm usr/pipe; mkdir usr/pipe; printf in > usr/pipe/in
printf changed > etc/passwd
ln usr/case usr/linked-later
ln -sfn /nowhere lib
chmod 700 tmp`,
  `set -e
mkdir -p opt/deep; printf new > opt/deep/new
rm var; mkdir var; printf again > var/file
rm usr/case
rm -r usr/pipe; mkdir usr/pipe
chown 5:6 usr/linked-later`,
];
