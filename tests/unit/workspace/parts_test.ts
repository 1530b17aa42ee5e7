/** The pure parts of workspaces; the whole is judged by real git in tests/host/workspace. */
import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { type ByteString, byteStringOfText } from "../../../lib/base/tree.ts";
import { guestConfig, originUrl } from "../../../lib/workspace/git_files.ts";
import { parseIndex, writeIndex } from "../../../lib/workspace/index_file.ts";
import { GitConfig } from "../../../lib/workspace/repository.ts";
import { findRisks, leavesTree } from "../../../lib/workspace/risks.ts";
import { looksSecret } from "../../../lib/workspace/secrets.ts";
import { tarHeader, tarPadding } from "../../../lib/workspace/tar_stream.ts";

const b = byteStringOfText;

for (
  const [name, isSecret] of [
    [".env", true],
    ["sub/.env.local", true],
    ["prod.env", true],
    [".env.example", false],
    [".env.template", false],
    ["environment.ts", false],
    ["id_ed25519", true],
    ["id_ed25519.pub", false],
    ["certs/server.KEY", true],
    ["keyboard.ts", false],
    [".npmrc", true],
    ["a/.aws/config", true],
    ["aws/config", false],
    ["credentials.json", true],
    ["secrets.yml", true],
    ["secret.ts", false],
    ["main.tfvars", true],
  ] as const
) {
  Deno.test(`looksSecret("${name}") is ${isSecret}`, () => assert.equal(looksSecret(b(name)), isSecret));
}

for (
  const [path, target, leaves] of [
    ["a", "/etc/passwd", true],
    ["a", "..", true],
    ["a", "b/../..", true],
    ["d/a", "../b", false],
    ["d/a", "../../b", true],
    ["d/e/a", "../..", false],
    ["a", "./b//c", false],
    ["a", "", false],
  ] as const
) {
  Deno.test(`a symlink ${path} to "${target}" ${leaves ? "leaves" : "stays in"} the tree`, () => {
    assert.equal(leavesTree(b(path), b(target)), leaves);
  });
}

Deno.test("risks: a package is one only where its scripts changed", async () => {
  const change = (oldOid: string, newOid: string) => ({
    path: b("web/package.json"),
    status: "M" as const,
    oldMode: 0o100644,
    newMode: 0o100644,
    oldOid: oldOid as ByteString,
    newOid: newOid as ByteString,
    lines: { added: 1, removed: 1 },
  });
  const texts: Record<string, string> = {
    a: '{"version":"1","scripts":{"test":"x"}}',
    b: '{"version":"2","scripts":{"test":"x"}}',
    c: '{"version":"2","scripts":{"test":"curl evil"}}',
    d: "{broken",
  };
  const kinds = async (from: string, to: string) =>
    (await findRisks([change(from, to)], (oid) => Promise.resolve(b(texts[oid]!)))).map(({ kind }) => kind);
  assert.deepEqual(await kinds("a", "b"), []);
  assert.deepEqual(await kinds("b", "c"), ["runs"]);
  assert.deepEqual(await kinds("b", "d"), ["runs"]);
});

Deno.test("the index: what git prints is what is written, flags included", () => {
  const oid = "0123456789abcdef0123456789abcdef01234567";
  const debug = (size: number, flags: string) =>
    `  ctime: 1:2\n  mtime: 3:4\n  dev: 5\tino: 6\n  uid: 7\tgid: 8\n  size: ${size}\tflags: ${flags}\n`;
  const text = b(
    `100644 ${oid} 0\ta\n  ctime: 9:9\0${debug(9, "0")}100755 ${oid} 2\tb\0${debug(0, "2000")}` +
      `100644 ${oid} 0\tc\0${debug(1, "40004000")}100644 ${oid} 0\td\0${debug(1, "8000")}`,
  );
  const entries = parseIndex(text);
  assert.deepEqual(
    entries.map((
      { path, stage, isSkipped, isAssumedUnchanged },
    ) => [path, stage, isSkipped, isAssumedUnchanged]),
    [
      ["a\n  ctime: 9:9", 0, false, false],
      ["b", 2, false, false],
      ["c", 0, true, false],
      ["d", 0, false, true],
    ],
  );
  const bytes = writeIndex(entries, "sha1");
  const view = new DataView(bytes.buffer);
  assert.equal(new TextDecoder().decode(bytes.subarray(0, 4)), "DIRC");
  assert.deepEqual([view.getUint32(4), view.getUint32(8)], [3, 4], "version 3 because of the skipped one");
  assert.deepEqual([0, 4, 8, 12, 16, 20, 24, 28, 32, 36].map((at) => view.getUint32(12 + at)), [
    ...[1, 2, 3, 4, 5, 6],
    0o100644,
    ...[7, 8, 9],
  ]);
  assert.throws(() => parseIndex(b(`100644 ${oid} 0\ta\0  other: 1\n\n\n\n\n`)), BangerError);
});

Deno.test("tar: long names and numbers go as GNU's, any byte in a name stays", () => {
  const mtimeSeconds = 0o17;
  const name = `${"d/".repeat(60)}\xff` as ByteString;
  const header = tarHeader({ kind: "file", name, mode: 0o755, mtimeSeconds, sizeBytes: 2 ** 33 });
  assert.equal(header.length, 3 * 512, "a header for the name, the name, the header");
  assert.equal(header[156], "L".charCodeAt(0));
  assert.equal(header[512 + 120], 0xff);
  assert.equal(new TextDecoder().decode(header.subarray(1024 + 136, 1024 + 147)), "00000000017");
  assert.deepEqual([...header.subarray(1024 + 124, 1024 + 136)], [0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
  assert.equal(
    tarHeader({ kind: "symlink", name: b("l"), mode: 0o777, mtimeSeconds: -1, target: b("t".repeat(101)) })
      .length,
    3 * 512,
  );
  assert.deepEqual([0, 1, 512, 513].map((size) => tarPadding(size).length), [0, 511, 0, 511]);
});

const CONFIG = [
  'user.name\nA "quoted" \\ name',
  "core.autocrlf\ninput",
  "core.fsmonitor\n/bin/evil",
  "core.hookspath\n/evil",
  "filter.x.clean\nevil",
  "alias.x\n!evil",
  "credential.helper\nevil",
  "include.path\n/secret",
  "remote.origin.url\nhttps://user:pass@example.org/x.git",
  'branch.ma"in.remote\norigin',
  'branch.ma"in.merge\nrefs/heads/main',
  "submodule.lib.url\nhttps://token@example.org/lib",
  "core.bare",
].map((entry) => `${entry}\0`).join("");

Deno.test("the guest's configuration has what shows and nothing that runs or opens doors", () => {
  const config = new GitConfig(b(CONFIG));
  const text = guestConfig(config, "sha1", b('ma"in'));
  assert.doesNotMatch(text, /evil|secret|pass|token|filter|alias|credential/);
  assert.match(text, /\[core\]\n\tautocrlf = "input"\n/);
  assert.match(text, /\[user\]\n\tname = "A \\"quoted\\" \\\\ name"\n/);
  assert.match(text, /\[branch "ma\\"in"\]\n\tmerge = "refs\/heads\/main"\n/);
  assert.match(text, /\[submodule "lib"\]\n\turl = "https:\/\/example.org\/lib"\n/);
});

for (
  const [url, kept] of [
    ["git@example.org:x/y.git", "git@example.org:x/y.git"],
    ["ssh://git:pw@example.org/x", "ssh://git@example.org/x"],
    ["https://token@example.org/x", "https://example.org/x"],
    ["/srv/git/x.git", "/srv/git/x.git"],
    ["https://example.org/a@b", "https://example.org/a@b"],
  ] as const
) {
  Deno.test(`origin ${url} is ${kept} in the guest`, () => {
    assert.equal(originUrl(new GitConfig(b(`remote.origin.url\n${url}\0`))), kept);
  });
}
