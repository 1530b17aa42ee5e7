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

/** How a guest that wants to do harm behaves once it was taken for healthy. */
export type Malice =
  | "floods its port"
  | "floods its console"
  | "answers with huge lengths"
  | "answers with escape sequences"
  | "lies about itself"
  | "hangs up in the middle";

export interface StandInGuest {
  readonly malice?: Malice | undefined;
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
      if (guest.malice === "floods its port") void flood(port).catch(() => {}); // until the relay hangs up
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

/** Random frames and noise, as fast as they are taken, after a moment of good behaviour. */
async function flood(port: Connection): Promise<never> {
  await host.clock.sleep(1500);
  const noise = crypto.getRandomValues(new Uint8Array(60_000));
  for (;;) await port.write(noise);
}

let timesHealthy = 0;

/** @returns whether it answered in a way of its own */
async function answerInMalice(stream: Connection, malice: Malice, target: string): Promise<boolean> {
  const send = (text: string) => stream.write(new TextEncoder().encode(text));
  const escapes = "\x1b]0;owned\x07\x1b[2J\u202e\u0000";
  if (malice === "answers with huge lengths") {
    await send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffff\r\n");
    const frame = Uint8Array.of(0x12, 0xff, 0xff, 0xff, 0xff, ...new Uint8Array(50_000));
    for (let part = 0; part < 400; part++) await stream.write(frame);
    return true;
  }
  if (malice === "answers with escape sequences") {
    const body = JSON.stringify({
      code: "guest_failed",
      message: `no ${escapes}`.repeat(100),
      hint: escapes,
    });
    await send(
      `HTTP/1.1 500 ${escapes.replaceAll(/[\r\n]/g, "")}\r\ncontent-length: ${
        new TextEncoder().encode(body).length
      }\r\n\r\n${body}`,
    );
    return true;
  }
  if (malice === "lies about itself" && target === "/healthz") {
    const lie = {
      status: "ok",
      version: "99.0 \x1b[31m",
      commit: "/../..",
      bootId: "x",
      uptimeSeconds: 1e300,
      pid: -1,
    };
    const body = JSON.stringify(lie);
    await send(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
    return true;
  }
  if (malice === "hangs up in the middle") {
    await send("HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{");
    return true;
  }
  return false;
}

async function serve(stream: Connection, guest: StandInGuest, bootId: string): Promise<void> {
  const reader = new ByteReader(stream);
  const head = await readRequestHead(reader);
  if (!head) return;
  while (!(await guest.isUp())) await host.clock.sleep(20);
  // It is taken for healthy first: else its VM would never have run.
  if (head.target === "/healthz") timesHealthy++;
  if (guest.malice && timesHealthy > 1 && await answerInMalice(stream, guest.malice, head.target)) {
    return stream.close();
  }
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
