import assert from "node:assert/strict";
import { parseVmName } from "../../../lib/base/names.ts";
import { SSH_SERVER_SETTINGS } from "../../../lib/guest/files/first_boot.ts";
import { knownHostsLine, sshArguments } from "../../../lib/guest/ssh/client_arguments.ts";
import { generateSshKeyPair } from "../../../lib/guest/ssh/keys.ts";
import { requireTools, run, runOk, temporaryDirectory, write } from "./tools.ts";

Deno.test("ssh-keygen reads our private keys and finds the public key in them", async () => {
  await requireTools("ssh-keygen");
  await using directory = await temporaryDirectory();
  // Comments of every length: the padding depends on it.
  for (let length = 0; length < 9; length++) {
    const { privateKey, publicKey } = generateSshKeyPair("c".repeat(length));
    await write(`${directory.path}/key`, privateKey, 0o600);
    assert.equal(
      (await runOk("ssh-keygen", ["-y", "-P", "", "-f", `${directory.path}/key`])).trim(),
      publicKey.trim(),
    );
  }
});

/** A real sshd for one connection on stdin and stdout, so nothing listens anywhere. */
async function makeServer(directory: string) {
  await requireTools("ssh", "sshd");
  const vmName = parseVmName("web");
  const [client, server] = [generateSshKeyPair("client"), generateSshKeyPair("server")];
  const user = (await runOk("id", ["-un"])).trim();
  await write(`${directory}/client key`, client.privateKey, 0o600);
  await write(`${directory}/host_key`, server.privateKey, 0o600);
  await write(`${directory}/authorized_keys`, `${client.publicKey}\n`, 0o600);
  await write(`${directory}/known hosts`, knownHostsLine(vmName, server.publicKey));
  await write(
    `${directory}/sshd_config`,
    `${SSH_SERVER_SETTINGS}HostKey ${directory}/host_key\nAuthorizedKeysFile ${directory}/authorized_keys\n` +
      "StrictModes no\nUsePAM no\nPidFile none\n",
  );
  if (user === "root") await Deno.mkdir("/run/sshd", { recursive: true });
  return {
    vmName,
    user,
    identityPath: `${directory}/client key`,
    knownHostsPath: `${directory}/known hosts`,
    proxyCommand: [
      (await runOk("sh", ["-c", "command -v sshd || echo /usr/sbin/sshd"])).trim(),
      "-i",
      "-e",
      "-f",
      `${directory}/sshd_config`,
    ],
  };
}

Deno.test("the system's ssh logs in with our arguments, by key, to a host it knows already", async () => {
  await using directory = await temporaryDirectory();
  const target = await makeServer(directory.path);
  const { code, stdout, stderr } = await run("ssh", sshArguments(target, ["echo", "hello"]), {
    timeoutMs: 20_000,
  });
  assert.deepEqual({ code, stdout }, { code: 0, stdout: "hello\n" }, stderr);
});

Deno.test("the system's ssh refuses a machine with another host key", async () => {
  await using directory = await temporaryDirectory();
  const target = await makeServer(directory.path);
  await write(target.knownHostsPath, knownHostsLine(target.vmName, generateSshKeyPair("other").publicKey));
  const { code, stdout } = await run("ssh", sshArguments(target, ["echo", "hello"]), { timeoutMs: 20_000 });
  assert.deepEqual({ code, stdout }, { code: 255, stdout: "" });
});
