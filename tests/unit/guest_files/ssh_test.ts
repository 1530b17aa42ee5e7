import assert from "node:assert/strict";
import { parseVmName } from "../../../lib/base/names.ts";
import { knownHostsLine, sshArguments, sshSettings } from "../../../lib/guest/ssh/client_arguments.ts";
import { sshConfigLines } from "../../../lib/guest/ssh/config_block.ts";
import { generateSshKeyPair } from "../../../lib/guest/ssh/keys.ts";

const TARGET = {
  vmName: parseVmName("web"),
  identityPath: "/home/ann smith/ssh/id_ed25519",
  knownHostsPath: "/home/ann smith/ssh/known_hosts",
  proxyCommand: ["/opt/it's/banger", "vm", "connect", "web", "22"],
};

Deno.test("sshArguments() names only banger's key and known hosts, and never forwards the user's agent", () => {
  assert.deepEqual(sshArguments(TARGET, ["echo", "a b"]), [
    ...["-o", "User=root"],
    ...["-o", 'UserKnownHostsFile="/home/ann smith/ssh/known_hosts"'],
    ...["-o", "HostKeyAlias=web.vm"],
    ...["-o", `ProxyCommand='/opt/it'\\''s/banger' vm connect web 22`],
    ...["-o", 'IdentityFile="/home/ann smith/ssh/id_ed25519"'],
    ...["-o", "IdentitiesOnly=yes"],
    ...["-o", "GlobalKnownHostsFile=none"],
    ...["-o", "HostKeyAlgorithms=ssh-ed25519"],
    ...["-o", "StrictHostKeyChecking=yes"],
    ...["-o", "UpdateHostKeys=no"],
    ...["-o", "CheckHostIP=no"],
    ...["-o", "PreferredAuthentications=publickey"],
    ...["-o", "ForwardAgent=no"],
    ...["-o", "ForwardX11=no"],
    ...["-o", "ControlPath=none"],
    ...["-o", "LogLevel=ERROR"],
    ...["--", "web.vm", "echo", "a b"],
  ]);
});

Deno.test("sshSettings() keeps ssh from expanding % in paths", () => {
  const settings = sshSettings({ ...TARGET, identityPath: "/a%d/key", proxyCommand: ["/a%h/banger"] });
  assert.equal(settings.get("IdentityFile"), '"/a%%d/key"');
  assert.equal(settings.get("ProxyCommand"), "'/a%%h/banger'");
});

Deno.test("sshConfigLines() serve any VM, wherever banger and its files lie", () => {
  const lines = sshConfigLines({
    identityPath: "/home/ann smith/id",
    knownHostsDirectory: "/home/100% ann/known_hosts",
    executable: "/opt/it's/banger",
  });
  assert.equal(lines[0], "Host *.vm");
  for (
    const line of [
      '  IdentityFile "/home/ann smith/id"',
      '  UserKnownHostsFile "/home/100%% ann/known_hosts/%h"',
      "  ProxyCommand '/opt/it'\\''s/banger' vm proxy %h 22",
      "  StrictHostKeyChecking yes",
      "  ForwardAgent no",
    ]
  ) assert.ok(lines.includes(line), line);
  // The user's own way to share connections, and to be told about them, stays.
  assert.ok(!lines.some((line) => /ControlPath|LogLevel/.test(line)));
});

Deno.test("knownHostsLine() leaves the comment out", () => {
  assert.equal(knownHostsLine(TARGET.vmName, "ssh-ed25519 AAAA some comment"), "web.vm ssh-ed25519 AAAA\n");
});

Deno.test("generateSshKeyPair() makes a new key each time, in lines that OpenSSH writes too", () => {
  const keys = [generateSshKeyPair("a"), generateSshKeyPair("a")];
  assert.notEqual(keys[0]!.publicKey, keys[1]!.publicKey);
  for (const { privateKey, publicKey } of keys) {
    assert.match(publicKey, /^ssh-ed25519 AAAAC3NzaC1lZDI1NTE5[A-Za-z0-9+/=]+ a$/);
    assert.match(
      privateKey,
      /^-----BEGIN OPENSSH PRIVATE KEY-----\n([^\n]{1,70}\n)+-----END OPENSSH PRIVATE KEY-----\n$/,
    );
  }
});
