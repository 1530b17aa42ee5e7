import { run } from "./commands.ts";

/** OpenSSH's server on a loopback port of its own, for the user who runs the benchmark. */
export interface SshServer extends AsyncDisposable {
  readonly port: number;
  readonly user: string;
  /** @param publicKey a line of authorized_keys */
  allow(publicKey: string): Promise<void>;
}

/** @param directory for its keys and configuration */
export async function startSshServer(directory: string): Promise<SshServer> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  await run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", `${directory}/host_key`]);
  await Deno.writeTextFile(
    `${directory}/sshd_config`,
    `ListenAddress 127.0.0.1:${port}
HostKey ${directory}/host_key
AuthorizedKeysFile ${directory}/authorized_keys
StrictModes no
PasswordAuthentication no
PermitRootLogin prohibit-password
PidFile none
`,
  );
  // As root it wants a directory for what it does without privileges.
  if (Deno.uid() === 0) await Deno.mkdir("/run/sshd", { recursive: true });
  const child = new Deno.Command("/usr/sbin/sshd", {
    args: ["-D", "-e", "-f", `${directory}/sshd_config`],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  return {
    port,
    user:
      (await new Deno.Command("id", { args: ["-un"] }).output().then(({ stdout }) =>
        new TextDecoder().decode(stdout)
      )).trim(),
    allow: (publicKey) => Deno.writeTextFile(`${directory}/authorized_keys`, publicKey),
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      await child.status;
    },
  };
}
