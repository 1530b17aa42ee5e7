import assert from "node:assert/strict";
import {
  BEGIN,
  bytesOf,
  byteText,
  END,
  findBlock,
  withBlock,
  withoutBlock,
} from "../../../lib/cli/ssh_config/managed_block.ts";
import {
  permissionProblem,
  readSshConfig,
  writeSshConfig,
} from "../../../lib/cli/ssh_config/ssh_config_file.ts";
import { BangerError } from "../../../lib/base/errors.ts";
import { systemClock } from "../../../lib/sys/clock.ts";
import { systemFiles } from "../../../lib/sys/files.ts";

const SETTINGS = ["Host *.vm", "  User root", '  IdentityFile "/höme/id"'];
const files = systemFiles(systemClock);

const TEXTS: readonly (readonly [string, Uint8Array])[] = [
  ["an empty file", new Uint8Array(0)],
  ["global settings in front of hosts", text("ForwardAgent yes\n\nHost a\n  User b\n")],
  ["no line break at the end", text("Host a\n  User b")],
  ["only a comment without a line break", text("# mine")],
  ["CRLF line breaks", text("Host a\r\n  User b\r\n")],
  ["bytes that are no UTF-8", Uint8Array.of(0x23, 0xff, 0xfe, 0x80, 0x0a)],
  ["a NUL and lone carriage returns", text("# \0 \r # \r\r\n")],
];

function text(content: string): Uint8Array {
  return new TextEncoder().encode(content);
}

for (const [why, bytes] of TEXTS) {
  Deno.test(`banger's lines come and go, all else stays byte for byte: ${why}`, () => {
    const before = byteText(bytes);
    const installed = withBlock(before, SETTINGS);
    assert.ok(installed.endsWith(before));
    assert.equal(withBlock(installed, SETTINGS), installed);
    assert.deepEqual(bytesOf(withoutBlock(installed)), new Uint8Array(bytes));
    const renewed = withBlock(installed, ["Host *.vm", "  User other"]);
    assert.equal(withoutBlock(renewed), before);
    assert.notEqual(renewed, installed);
  });
}

Deno.test("banger's lines stay where the user has put them, with the file's line breaks", () => {
  const moved = `Host a\r\n${BEGIN}\r\nHost *.vm\r\n${END}\r\nHost b\r\n`;
  const renewed = withBlock(moved, SETTINGS);
  assert.ok(renewed.startsWith(`Host a\r\n${BEGIN}\r\nHost *.vm\r\n  User root\r\n`));
  assert.ok(renewed.endsWith(`Match all\r\n${END}\r\nHost b\r\n`));
  assert.equal(withoutBlock(renewed), "Host a\r\nHost b\r\n");
});

Deno.test("lines that were tampered with are not guessed at", () => {
  for (
    const broken of [
      `${BEGIN}\nHost *.vm\n`,
      `${END}\n`,
      `${END}\n${BEGIN}\n`,
      `${BEGIN}\n${BEGIN}\n${END}\n`,
    ]
  ) {
    assert.throws(
      () => findBlock(broken),
      (failure) => failure instanceof BangerError && failure.code === "corrupt_data",
    );
  }
  assert.equal(findBlock(`  ${BEGIN}\n`), undefined);
});

async function inDirectory(act: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "banger-ssh-config-" });
  try {
    await act(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("a file that is not there is made, private, with its directory; and goes again", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/.ssh/config`;
    await writeSshConfig(files, await readSshConfig(files, path), "x\n");
    assert.equal((await Deno.stat(path)).mode! & 0o777, 0o600);
    assert.equal((await Deno.stat(`${directory}/.ssh`)).mode! & 0o777, 0o700);
    await writeSshConfig(files, await readSshConfig(files, path), "");
    assert.deepEqual([...Deno.readDirSync(`${directory}/.ssh`)], []);
  });
});

Deno.test("a symlink stays one, and its file keeps its mode", async () => {
  await inDirectory(async (directory) => {
    await Deno.writeTextFile(`${directory}/real`, "before\n", { mode: 0o640 });
    await Deno.symlink("real", `${directory}/config`);
    await writeSshConfig(files, await readSshConfig(files, `${directory}/config`), "after\n");
    assert.equal(await Deno.readTextFile(`${directory}/real`), "after\n");
    assert.equal(await Deno.readLink(`${directory}/config`), "real");
    assert.equal((await Deno.stat(`${directory}/real`)).mode! & 0o777, 0o640);
    await writeSshConfig(files, await readSshConfig(files, `${directory}/config`), "");
    assert.equal(await Deno.readTextFile(`${directory}/real`), "");
    assert.deepEqual([...Deno.readDirSync(directory)].map(({ name }) => name).sort(), ["config", "real"]);
  });
});

Deno.test("what cannot be changed safely is refused", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/config`;
    const refuses = async (code: string, act: () => Promise<unknown>) =>
      await assert.rejects(act, (failure) => failure instanceof BangerError && failure.code === code);
    await Deno.symlink("nowhere", path);
    await refuses("not_found", () => readSshConfig(files, path));
    await Deno.remove(path);
    await Deno.mkdir(path);
    await refuses("invalid_argument", () => readSshConfig(files, path));
    await Deno.remove(path);
    await Deno.writeTextFile(path, "x\n", { mode: 0o400 });
    await refuses(
      "permission_denied",
      async () => await writeSshConfig(files, await readSshConfig(files, path), "y\n"),
    );
    await Deno.chmod(path, 0o666);
    const read = await readSshConfig(files, path);
    assert.match(permissionProblem(read) ?? "", /chmod go-w/);
    await Deno.writeTextFile(path, "somebody else\n");
    await refuses("in_use", () => writeSshConfig(files, read, "y\n"));
    assert.equal(await Deno.readTextFile(path), "somebody else\n");
  });
});
