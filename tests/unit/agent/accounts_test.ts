import { deepEqual, throws } from "node:assert/strict";
import { accountOf } from "../../../agent/accounts.ts";
import { BangerError } from "../../../lib/base/errors.ts";

const PASSWD = "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nroot:x:0:0:root:/home/root:/bin/zsh\n" +
  "ann:x:1000:100:Ann,,,:/home/ann:/bin/bash\n4242:x:1001:101::/home/number:\nbroken:x:y:1:::\nshort:x:5:5\n";
const GROUP = "wheel:x:10:root,ann\nusers:x:100:\ndev:x:7:ann\nbroken:x::ann\n";

for (
  const [user, expected] of [
    ["root", { name: "root", uid: 0, gid: 0, groups: [10], home: "/home/root", shell: "/bin/zsh" }],
    ["0", { name: "root", uid: 0, gid: 0, groups: [10], home: "/home/root", shell: "/bin/zsh" }],
    ["ann", { name: "ann", uid: 1000, gid: 100, groups: [10, 7], home: "/home/ann", shell: "/bin/bash" }],
    ["1000", { name: "ann", uid: 1000, gid: 100, groups: [10, 7], home: "/home/ann", shell: "/bin/bash" }],
    ["ann:", { name: "ann", uid: 1000, gid: 100, groups: [10, 7], home: "/home/ann", shell: "/bin/bash" }],
    ["ann:dev", { name: "ann", uid: 1000, gid: 7, groups: [], home: "/home/ann", shell: "/bin/bash" }],
    ["ann:55", { name: "ann", uid: 1000, gid: 55, groups: [], home: "/home/ann", shell: "/bin/bash" }],
    ["65532:65532", { name: "65532", uid: 65532, gid: 65532, groups: [], home: "/", shell: "/bin/sh" }],
    ["65532", { name: "65532", uid: 65532, gid: 0, groups: [], home: "/", shell: "/bin/sh" }],
    // A name made of digits is a name first.
    ["4242", { name: "4242", uid: 1001, gid: 101, groups: [], home: "/home/number", shell: "/bin/sh" }],
  ] as const
) {
  Deno.test(`accountOf(${user})`, () => deepEqual(accountOf(user, PASSWD, GROUP), expected));
}

Deno.test("accountOf() knows root where there are no files, and no other name", () => {
  const root = { name: "root", uid: 0, gid: 0, groups: [], home: "/root", shell: "/bin/sh" };
  for (const user of ["root", "0", "root:root", "0:0"]) deepEqual(accountOf(user, "", ""), root);
});

for (const user of ["nobody", "ann:nobody", "-1", "4294967295", "", "1e3", "broken", "short", "0x0"]) {
  Deno.test(`accountOf() refuses ${JSON.stringify(user)}`, () => {
    throws(
      () => accountOf(user, PASSWD, GROUP),
      (thrown) => thrown instanceof BangerError && thrown.code === "not_found",
    );
  });
}
