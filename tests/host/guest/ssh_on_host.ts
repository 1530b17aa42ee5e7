import { generateSshKeyPair } from "../../../lib/guest/ssh/keys.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { openLibc } from "../../../agent/libc.ts";
import { Poller } from "../../../agent/poller.ts";
import { serveSshClient } from "../../../agent/ssh/server.ts";
import type { Connection } from "../../../lib/base/host.ts";

export interface SshOnHost {
  readonly directory: string;
  /** Options that ssh, scp and sftp share, and rsync's ssh. */
  readonly options: readonly string[];
  /** What has joined `options` in front. @returns its end and output */
  run(program: string, args: readonly string[], stdin?: string | Uint8Array): Promise<RunResult>;
}

export interface RunResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The agent's ssh server on a port of this host's, and OpenSSH's clients for it. */
export async function withSshServer(act: (ssh: SshOnHost) => Promise<void>): Promise<void> {
  const host = realHost();
  const directory = await Deno.makeTempDir({ prefix: "banger-ssh-" });
  const [hostKey, clientKey] = [generateSshKeyPair("host"), generateSshKeyPair("client")];
  await Deno.writeTextFile(`${directory}/id`, clientKey.privateKey, { mode: 0o600 });
  using libc = openLibc();
  await using poller = new Poller(libc);
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await Deno.writeTextFile(
    `${directory}/known_hosts`,
    `web.vm ${hostKey.publicKey.split(" ").slice(0, 2).join(" ")}\n`,
  );
  const serving = new Set<Promise<void>>();
  const accepting = (async () => {
    for await (const accepted of listener) {
      const served: Promise<void> = serveSshClient(closingOnce(accepted), {
        descriptors: { libc, poller },
        log: host.log,
        hostKey: hostKey.privateKey,
        authorizedKeys: `${clientKey.publicKey}\n`,
      }).finally(() => serving.delete(served));
      serving.add(served);
    }
  })();
  const options = [
    "-F",
    "none",
    ...Object.entries({
      Port: (listener.addr as Deno.NetAddr).port,
      HostName: "127.0.0.1",
      HostKeyAlias: "web.vm",
      UserKnownHostsFile: `${directory}/known_hosts`,
      IdentityFile: `${directory}/id`,
      IdentitiesOnly: "yes",
      StrictHostKeyChecking: "yes",
      User: "root",
      LogLevel: "ERROR",
    }).flatMap(([name, value]) => ["-o", `${name}=${value}`]),
  ];
  try {
    await act({
      directory,
      options,
      run: (program, args, stdin) => run(program, [...options, ...args], stdin),
    });
  } finally {
    listener.close();
    await accepting;
    await Promise.all(serving);
    await Deno.remove(directory, { recursive: true });
  }
}

function closingOnce(connection: Deno.Conn): Connection {
  let isOpen = true;
  return {
    read: (into) => connection.read(into),
    write: (bytes) => connection.write(bytes),
    closeWrite: () => connection.closeWrite(),
    close: () => {
      if (isOpen) connection.close();
      isOpen = false;
    },
  };
}

export async function run(
  program: string,
  args: readonly string[],
  stdin: string | Uint8Array = "",
): Promise<RunResult> {
  const child = new Deno.Command(program, {
    args: [...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    signal: AbortSignal.timeout(60_000),
  }).spawn();
  const feeding = (async () => {
    const writer = child.stdin.getWriter();
    await writer.write(typeof stdin === "string" ? new TextEncoder().encode(stdin) : stdin);
    await writer.close();
  })().catch(() => {}); // a program need not read all of it
  const text = (stream: ReadableStream<Uint8Array>) => new Response(stream).text();
  const [status, stdout, stderr] = await Promise.all([child.status, text(child.stdout), text(child.stderr)]);
  await feeding;
  return { code: status.code, stdout, stderr };
}
