import { MuxGuest } from "../../../lib/guest/wire/mux_guest.ts";
import { AGENT_PORT } from "../../../lib/guest/wire/protocol.ts";
import type { AgentEndpoint } from "../../../lib/guest/client/endpoint.ts";
import { AgentClient } from "../../../lib/guest/client/agent_client.ts";
import { SessionClient } from "../../../lib/guest/client/session_client.ts";
import type { ExecSession } from "../../../lib/guest/client/exec_session.ts";
import { runRelay } from "../../../lib/guest/relay/relay.ts";
import type { ExecStart, ExitStatus } from "../../../lib/guest/wire/exec.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { openLibc } from "../../../agent/libc.ts";
import { Poller } from "../../../agent/poller.ts";
import { serveConnection } from "../../../agent/server.ts";
import { Sessions } from "../../../agent/sessions/sessions.ts";

/**
 * The agent on this host, as a guest's: its server behind a mux, the mux behind a relay, all on real
 * sockets. Everything but QEMU and the virtio-serial device.
 */
export async function withAgent(
  act: (client: AgentClient, sessions: SessionClient, endpoint: AgentEndpoint) => Promise<void>,
  { sessionsDirectory, configDisk }: { sessionsDirectory?: string; configDisk?: string } = {},
): Promise<void> {
  const host = realHost();
  const directory = await Deno.makeTempDir({ prefix: "banger-agent-" });
  const stop = new AbortController();
  const ready = Promise.withResolvers<void>();
  const relaying = runRelay(
    host,
    {
      consoleSocketPath: `${directory}/console`,
      serialSocketPath: `${directory}/serial`,
      hybridSocketPath: `${directory}/hybrid`,
      consoleLogPath: `${directory}/console.log`,
      consoleLogMaxBytes: 65_536,
    },
    stop.signal,
    ready.resolve,
  );
  await ready.promise;
  using libc = openLibc();
  await using poller = new Poller(libc);
  const descriptors = { libc, poller };
  const context = {
    descriptors,
    sessions: new Sessions(descriptors, sessionsDirectory ?? `${directory}/sessions`, host.log),
    loadSshServer: () => import("../../../agent/ssh/server.ts"),
    build: { version: "1.2.3", commit: "abc", builtAt: "2026-01-01T00:00:00Z" },
    ...(configDisk === undefined ? {} : { configDisk }),
    log: host.log,
  };
  const serving = new Set<Promise<void>>();
  const port = await host.sockets.connectUnix(`${directory}/serial`);
  const guest = new MuxGuest(host, port, (guestPort) => {
    if (guestPort !== AGENT_PORT) return undefined;
    return (stream) => {
      const served: Promise<void> = serveConnection(context, stream).finally(() => serving.delete(served));
      serving.add(served);
    };
  });
  // It ends with a failure where the relay goes first.
  const running = guest.run().catch(() => {});
  try {
    const endpoint = { kind: "hybrid", path: `${directory}/hybrid` } as const;
    await act(new AgentClient(host, endpoint), new SessionClient(host, endpoint), endpoint);
  } finally {
    stop.abort();
    await relaying;
    port.close();
    await running;
    await Promise.all(serving);
    await Deno.remove(directory, { recursive: true });
  }
}

export interface Outcome {
  readonly status: ExitStatus;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Gathers a command's output as text. A test that fails before it awaits the outcome fails with its own
 * reason, not with the outcome's.
 */
export function outcomeOf(session: ExecSession, onStdout?: (soFar: string) => void): Promise<Outcome> {
  const gathering = gather(session, onStdout);
  gathering.catch(() => {});
  return gathering;
}

async function gather(session: ExecSession, onStdout: (soFar: string) => void = () => {}): Promise<Outcome> {
  const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
  const text = { stdout: "", stderr: "" };
  const status = await session.finish({
    stdout: (bytes) => {
      text.stdout += decoders.stdout.decode(bytes, { stream: true });
      onStdout(text.stdout);
      return Promise.resolve();
    },
    stderr: (bytes) => {
      text.stderr += decoders.stderr.decode(bytes, { stream: true });
      return Promise.resolve();
    },
  });
  return { status, ...text };
}

/** Runs a command without stdin to its end. */
export async function run(client: AgentClient, start: ExecStart | string): Promise<Outcome> {
  const request = typeof start === "string" ? { argv: ["sh", "-c", start] } : start;
  return await outcomeOf(await client.exec({ ...request, stdinClosed: true }));
}

/** @returns whether the process is there and no zombie */
export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(Deno.readTextFileSync(`/proc/${pid}/status`));
  } catch {
    return false;
  }
}

export async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const deadline = performance.now() + 10_000; !(await condition());) {
    if (performance.now() > deadline) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
