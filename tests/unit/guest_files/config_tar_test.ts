import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { type BootConfig, buildConfigTar, QEMU_USER_NETWORK } from "../../../lib/guest/config/config_tar.ts";
import { type GuestConfig, parseGuestConfigText } from "../../../lib/guest/wire/config.ts";

const GUEST: GuestConfig = {
  schemaVersion: 1,
  vmId: "0123456789ab",
  vmName: "web",
  defaults: { user: "root", workingDirectory: "/root", entrypoint: [], command: [] },
};
const FULL: BootConfig = {
  guest: GUEST,
  network: QEMU_USER_NETWORK,
  authorizedKeys: ["ssh-ed25519 AAAA banger"],
  hostKey: { privateKey: "PRIVATE\n", publicKey: "ssh-ed25519 BBBB web" },
  gitIdentity: { name: 'Ann "A" \\ B', email: "ann@example.org" },
  environment: { EDITOR: "vi -e", EMPTY: "" },
};

interface Member {
  readonly name: string;
  readonly mode: number;
  readonly text: string;
}

/** A reader of its own: what it finds is what any tar finds. */
function members(tar: Uint8Array): Member[] {
  const found: Member[] = [];
  const field = (at: number, length: number) =>
    new TextDecoder().decode(tar.subarray(at, at + length)).replace(/\0.*$/s, "");
  for (let at = 0; tar[at] !== 0;) {
    const size = parseInt(field(at + 124, 12), 8);
    found.push({ name: field(at, 100), mode: parseInt(field(at + 100, 8), 8), text: field(at + 512, size) });
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return found;
}

Deno.test("buildConfigTar() has every name of the guest contract, with its content and mode", () => {
  const found = members(buildConfigTar(FULL));
  assert.deepEqual(parseGuestConfigText(found[0]!.text), GUEST);
  assert.deepEqual(found.slice(1), [
    { name: "hostname", mode: 0o644, text: "web\n" },
    {
      name: "network",
      mode: 0o644,
      text: "ADDRESS=10.0.2.15\nPREFIX_LENGTH=24\nGATEWAY=10.0.2.2\nDNS='10.0.2.3'\n",
    },
    { name: "authorized_keys", mode: 0o600, text: "ssh-ed25519 AAAA banger\n" },
    { name: "ssh_host_ed25519_key", mode: 0o600, text: "PRIVATE\n" },
    { name: "ssh_host_ed25519_key.pub", mode: 0o644, text: "ssh-ed25519 BBBB web\n" },
    { name: "environment", mode: 0o600, text: "EDITOR=vi -e\nEMPTY=\n" },
    {
      name: "gitconfig",
      mode: 0o644,
      text: '[user]\n\tname = "Ann \\"A\\" \\\\ B"\n\temail = "ann@example.org"\n',
    },
  ]);
});

Deno.test("buildConfigTar() leaves out what was not given", () => {
  const tar = buildConfigTar({ guest: GUEST, authorizedKeys: [], environment: {} });
  assert.deepEqual(members(tar).map(({ name }) => name), ["config.json", "hostname"]);
});

Deno.test("buildConfigTar() gives whole pages, ends with two empty blocks, and the same bytes each time", () => {
  for (let length = 0; length < 5000; length += 97) {
    const config = { guest: GUEST, authorizedKeys: ["k".repeat(length + 1)], environment: {} };
    const tar = buildConfigTar(config);
    assert.equal(tar.length % 4096, 0);
    assert.ok(tar.subarray(-1024).every((byte) => byte === 0));
    assert.deepEqual(tar, buildConfigTar(config));
  }
});

const REFUSED: [string, Partial<BootConfig>][] = [
  ["a line break in a key", { authorizedKeys: ["ssh-ed25519 A\ncommand=x"] }],
  ["a line break in a variable", { environment: { A: "x\nB=y" } }],
  ["a NUL in a variable", { environment: { A: "x\0" } }],
  ["a variable name with a space", { environment: { "A B": "x" } }],
  ["a variable name that is a command", { environment: { "A=$(id)": "x" } }],
  ["a line break in the git identity", { gitIdentity: { name: "a\n[core]", email: "b" } }],
  ["a shell command as the address", { network: { ...QEMU_USER_NETWORK, address: "1.2.3.4;id" } }],
  ["an address out of range", { network: { ...QEMU_USER_NETWORK, address: "1.2.3.400" } }],
  ["a shell command as the gateway", { network: { ...QEMU_USER_NETWORK, gateway: "$(id)" } }],
  ["a quote in a DNS server", { network: { ...QEMU_USER_NETWORK, dnsServers: ["'; id #"] } }],
  ["a prefix that is no number", { network: { ...QEMU_USER_NETWORK, prefixLength: NaN } }],
  ["a line break in the host name", { guest: { ...GUEST, vmName: "a\nb" } }],
];
for (const [what, change] of REFUSED) {
  Deno.test(`buildConfigTar() refuses ${what}`, () => {
    assert.throws(
      () => buildConfigTar({ ...FULL, ...change }),
      (thrown) => thrown instanceof BangerError && thrown.code === "invalid_argument",
    );
  });
}

const BROKEN: [string, unknown][] = [
  ["no object", []],
  ["another version", { ...GUEST, schemaVersion: 2 }],
  ["no name", { ...GUEST, vmName: undefined }],
  ["a NUL", { ...GUEST, vmId: "a\0b" }],
  ["a relative directory", { ...GUEST, defaults: { ...GUEST.defaults, workingDirectory: "repo" } }],
  ["a command that is no list", { ...GUEST, defaults: { ...GUEST.defaults, command: "sh" } }],
  ["an argument that is no text", { ...GUEST, defaults: { ...GUEST.defaults, command: ["sh", 1] } }],
];
for (const [what, value] of BROKEN) {
  Deno.test(`parseGuestConfigText() refuses ${what}`, () => {
    assert.throws(
      () => parseGuestConfigText(JSON.stringify(value)),
      (thrown) => thrown instanceof BangerError && thrown.code === "corrupt_data",
    );
  });
}

Deno.test("parseGuestConfigText() refuses what is no JSON, and drops fields that it does not know", () => {
  assert.throws(() => parseGuestConfigText("{"), BangerError);
  assert.deepEqual(parseGuestConfigText(JSON.stringify({ ...GUEST, later: 1 })), GUEST);
});
