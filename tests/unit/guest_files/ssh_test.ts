import assert from "node:assert/strict";
import { parseVmName } from "../../../lib/base/names.ts";
import { knownHostsLine, sshArguments, sshSettings } from "../../../lib/guest/ssh/client_arguments.ts";
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
    ...["-o", 'IdentityFile="/home/ann smith/ssh/id_ed25519"'],
    ...["-o", "IdentitiesOnly=yes"],
    ...["-o", 'UserKnownHostsFile="/home/ann smith/ssh/known_hosts"'],
    ...["-o", "GlobalKnownHostsFile=none"],
    ...["-o", "HostKeyAlias=web.vm"],
    ...["-o", "HostKeyAlgorithms=ssh-ed25519"],
    ...["-o", "StrictHostKeyChecking=yes"],
    ...["-o", "UpdateHostKeys=no"],
    ...["-o", "CheckHostIP=no"],
    ...["-o", "PreferredAuthentications=publickey"],
    ...["-o", "ForwardAgent=no"],
    ...["-o", "ForwardX11=no"],
    ...["-o", "ControlPath=none"],
    ...["-o", `ProxyCommand='/opt/it'\\''s/banger' vm connect web 22`],
    ...["-o", "LogLevel=ERROR"],
    ...["--", "web.vm", "echo", "a b"],
  ]);
});

Deno.test("sshSettings() keeps ssh from expanding % in paths", () => {
  const settings = sshSettings({ ...TARGET, identityPath: "/a%d/key", proxyCommand: ["/a%h/banger"] });
  assert.equal(settings.get("IdentityFile"), '"/a%%d/key"');
  assert.equal(settings.get("ProxyCommand"), "'/a%%h/banger'");
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
