import { writeFully } from "../../base/bytes.ts";
import { reasonOf } from "../../base/errors.ts";
import type { Connection, Host } from "../../base/host.ts";
import type { TcpListener, UdpSocket } from "../../base/network.ts";

/** Of one connection; who asks over TCP asks at once. */
const TCP_IDLE_MS = 5000;
const MAX_TCP_CONNECTIONS = 64;
const MAX_QUERY_BYTES = 4096;
/** Where somebody else has the port: their end is noticed this soon. */
const BIND_AGAIN_MS = 5000;

export interface DnsServerStatus {
  readonly address: string;
  readonly port: number;
  readonly isServing: boolean;
  /** Why it does not. */
  readonly problem?: string;
}

type Answer = (message: Uint8Array) => Uint8Array<ArrayBuffer> | undefined;
type ServerHost = Pick<Host, "network" | "clock" | "log">;

/** Answers over UDP and TCP. Where the port is taken it waits for it, and says so meanwhile. */
export class DnsServer {
  readonly #host: ServerHost;
  readonly #address: string;
  readonly #port: number;
  readonly #answer: Answer;
  #problem: string | undefined = "it has not begun";
  #connections = 0;

  constructor(host: ServerHost, address: string, port: number, answer: Answer) {
    this.#host = host;
    this.#address = address;
    this.#port = port;
    this.#answer = answer;
  }

  status(): DnsServerStatus {
    const problem = this.#problem;
    return {
      address: this.#address,
      port: this.#port,
      isServing: problem === undefined,
      ...(problem === undefined ? {} : { problem }),
    };
  }

  /** Serves until the signal fires. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#host;
    for (let isFirst = true; !signal.aborted; isFirst = false) {
      try {
        const { udp, tcp } = await this.#bind();
        this.#problem = undefined;
        log("info", "the name server runs", { address: this.#address, port: this.#port });
        signal.addEventListener("abort", () => tcp.close());
        if (signal.aborted) tcp.close();
        for await (const connection of tcp) void this.#serveTcp(connection);
        udp.close();
        return;
      } catch (thrown) {
        this.#problem = reasonOf(thrown);
        if (isFirst) log("warn", "no name server", { reason: reasonOf(thrown) });
      }
      await clock.sleep(BIND_AGAIN_MS, signal).catch(() => {}); // the loop's condition sees it
    }
  }

  async #bind(): Promise<{ udp: UdpSocket; tcp: TcpListener }> {
    const { network } = this.#host;
    const tcp = await network.listenTcp(this.#address, this.#port);
    try {
      const udp: UdpSocket = await network.bindUdp(this.#address, this.#port, (message, from) => {
        const answer = message.length <= MAX_QUERY_BYTES ? this.#answer(message) : undefined;
        if (answer) udp.send(answer, from);
      });
      return { udp, tcp };
    } catch (thrown) {
      tcp.close();
      throw thrown;
    }
  }

  /** Messages behind their lengths, one after the other (RFC 7766). */
  async #serveTcp(connection: Connection): Promise<void> {
    if (this.#connections >= MAX_TCP_CONNECTIONS) return connection.close();
    this.#connections++;
    const idle = new IdleClose(this.#host, connection);
    try {
      for (;;) {
        const message = await readMessage(connection);
        if (!message) return;
        idle.touch();
        const answer = this.#answer(message);
        if (!answer) return;
        const framed = new Uint8Array(2 + answer.length);
        framed.set([answer.length >>> 8, answer.length & 0xff]);
        framed.set(answer, 2);
        await writeFully((bytes) => connection.write(bytes), framed);
      }
    } catch (thrown) {
      this.#host.log("debug", "a TCP query failed", { reason: reasonOf(thrown) });
    } finally {
      idle.end();
      connection.close();
      this.#connections--;
    }
  }
}

async function readMessage(connection: Connection): Promise<Uint8Array | undefined> {
  const head = await readExactly(connection, 2);
  const length = head && ((head[0]! << 8) | head[1]!);
  if (!length || length > MAX_QUERY_BYTES) return undefined;
  return await readExactly(connection, length);
}

async function readExactly(connection: Connection, count: number): Promise<Uint8Array | undefined> {
  const buffer = new Uint8Array(count);
  for (let filled = 0; filled < count;) {
    const read = await connection.read(buffer.subarray(filled));
    if (read === null) return undefined;
    filled += read;
  }
  return buffer;
}

/** Closes a connection on which nothing was asked for a while. */
class IdleClose {
  readonly #clock: Host["clock"];
  readonly #connection: Connection;
  #timer = new AbortController();

  constructor({ clock }: Pick<Host, "clock">, connection: Connection) {
    this.#clock = clock;
    this.#connection = connection;
    this.#start();
  }

  touch(): void {
    this.#timer.abort();
    this.#timer = new AbortController();
    this.#start();
  }

  end(): void {
    this.#timer.abort();
  }

  #start(): void {
    this.#clock.sleep(TCP_IDLE_MS, this.#timer.signal).then(() => this.#connection.close(), () => {
      // Something was asked in time.
    });
  }
}
