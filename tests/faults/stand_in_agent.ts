/** Speaks the agent's protocol on a machine's virtio-serial socket, from this host. */
import { AGENT_PORT } from "../../lib/guest/wire/protocol.ts";
import { EXEC_FRAME } from "../../lib/guest/wire/exec.ts";
import { ByteReader } from "../../lib/guest/wire/byte_reader.ts";
import { encodeFrame } from "../../lib/guest/wire/frames.ts";
import { readRequestHead } from "../../lib/guest/wire/http.ts";
import { MuxGuest } from "../../lib/guest/wire/mux_guest.ts";
import type { Connection } from "../../lib/base/host.ts";
import { realHost } from "../../lib/sys/host.ts";
import { Exchange } from "../../agent/exchange.ts";

export const host = realHost();
const RECONNECT_MS = 200;

export interface StandInGuest {
  /** Whether the guest is up; until then nothing is answered. */
  isUp(): Promise<boolean>;
  powerOff(): void;
}

/** Serves for ever, over reconnections, as QEMU's `reconnect` would. */
export async function serveAgent(socketPath: string, guest: StandInGuest): Promise<never> {
  const bootId = crypto.randomUUID();
  for (;;) {
    const port = await host.sockets.connectUnix(socketPath).catch(() => undefined);
    if (port) {
      const mux = new MuxGuest(host, port, (guestPort) => {
        if (guestPort !== AGENT_PORT) return undefined;
        return (stream) => void serve(stream, guest, bootId).catch(() => stream.close());
      });
      await mux.run().catch(() => {});
      port.close();
    }
    await host.clock.sleep(RECONNECT_MS);
  }
}

async function serve(stream: Connection, guest: StandInGuest, bootId: string): Promise<void> {
  const reader = new ByteReader(stream);
  const head = await readRequestHead(reader);
  if (!head) return;
  while (!(await guest.isUp())) await host.clock.sleep(20);
  const exchange = new Exchange(stream, reader, head);
  switch (`${head.method} ${head.target}`) {
    case "GET /healthz":
      await exchange.answer(200, {
        status: "ok",
        version: "1.0.0",
        commit: "made-up",
        bootId,
        uptimeSeconds: 1,
        pid: 1,
      });
      break;
    case "POST /v1/power-off":
      await exchange.answer(202);
      await host.clock.sleep(5);
      return guest.powerOff();
    case "POST /v1/exec":
      await serveExec(exchange);
      break;
    default:
      await exchange.answer(204);
  }
  stream.close();
}

/** Whatever it is, it prints a line and ends well. */
async function serveExec(exchange: Exchange): Promise<void> {
  const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  await exchange.body.read();
  await exchange.send(encodeFrame(EXEC_FRAME.started, json({ pid: 2 })));
  await exchange.send(encodeFrame(EXEC_FRAME.stdout, new TextEncoder().encode("done\n")));
  await exchange.end(encodeFrame(EXEC_FRAME.exited, json({ code: 0 })));
}
