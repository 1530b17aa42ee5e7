/** Debian's docker-registry on a free loopback port, its content below `directory`. */
export async function startRegistry(
  directory: string,
): Promise<AsyncDisposable & { readonly host: string; readonly pid: number }> {
  const host = `127.0.0.1:${freePort()}`;
  const config = `${directory}/registry.yml`;
  await Deno.writeTextFile(
    config,
    `version: 0.1
storage: { filesystem: { rootdirectory: ${directory}/registry } }
http: { addr: ${host} }
log: { level: error, accesslog: { disabled: true } }
`,
  );
  const command = new Deno.Command("docker-registry", {
    args: ["serve", config],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  });
  let process: Deno.ChildProcess;
  try {
    process = command.spawn();
  } catch (failure) {
    throw new Error("docker-registry is needed on PATH (Debian's package of that name)", { cause: failure });
  }
  const stop = async () => {
    process.kill("SIGKILL");
    await process.status;
  };
  for (let attempt = 0; attempt < 600; attempt++) {
    try {
      await (await fetch(`http://${host}/v2/`)).body?.cancel();
      return { host, pid: process.pid, [Symbol.asyncDispose]: stop };
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  await stop();
  throw new Error("docker-registry did not answer within 30 s");
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return (listener.addr as Deno.NetAddr).port;
}
