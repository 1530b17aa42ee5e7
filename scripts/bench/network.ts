/** Forwarded ports against QEMU's own `hostfwd` on the same guest, and names against dnsmasq. */
import { createSocket } from "node:dgram";
import { encodeQuery, TYPE } from "../../lib/net/dns/message.ts";
import type { Benchmark } from "./benchmark.ts";
import { timedMs } from "./benchmark.ts";
import { BANGER, read, removing, run, showVm } from "./commands.ts";

const OURS = "bench-net";
const PEER = "bench-net-peer";
const STREAM_PORT = 6001;
const HTTP_PORT = 6002;
const STREAM_BYTES = 64 * 1024 * 1024;
const CONNECTIONS = 200;
const REQUESTS_PER_CONNECTION = 5;
const LOOKUPS = 20_000;
const MIN_LOOKUPS_PER_SECOND = 5000;
/** Lookups under way at once. */
const WINDOW = 64;

/** In the guest: one port that sends, one that speaks HTTP/1.1 with keep-alive. */
const SERVER = `
import http.server, socket, threading
piece = bytes(262144)
def send(c):
    for _ in range(${STREAM_BYTES} // len(piece)): c.sendall(piece)
    c.close()
def stream():
    s = socket.create_server(("0.0.0.0", ${STREAM_PORT}), backlog=64)
    while True: threading.Thread(target=send, args=(s.accept()[0],), daemon=True).start()
threading.Thread(target=stream, daemon=True).start()
class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")
    def log_message(self, *a): pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 512
Server(("0.0.0.0", ${HTTP_PORT}), Page).serve_forever()
`;
const UNIT =
  "[Service]\nExecStart=/usr/bin/python3 /usr/local/lib/bench.py\n[Install]\nWantedBy=multi-user.target\n";

interface Ports {
  readonly address: string;
  readonly stream: number;
  readonly http: number;
}

function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  return port;
}

async function makeVm(name: string): Promise<void> {
  await run(BANGER, ["vm", "create", "--name", name, "--memory", "1G", "--quiet"]);
  const script = `mkdir -p /usr/local/lib && cat > /usr/local/lib/bench.py <<'END'\n${SERVER}\nEND\n` +
    `cat > /etc/systemd/system/bench.service <<'END'\n${UNIT}\nEND\nsystemctl enable --now bench && sync`;
  await run(BANGER, ["vm", "exec", name, "--", "sh", "-c", script]);
}

/** The same guest once more, under a QEMU that banger did not start, with QEMU's own network. */
async function startPeer(): Promise<{ ports: Ports } & AsyncDisposable> {
  const { vmm, agent } = await showVm(PEER);
  const args = (await Deno.readTextFile(`/proc/${vmm.pid}/cmdline`)).split("\0").slice(0, -1);
  await run(BANGER, ["vm", "stop", PEER, "--quiet"]);
  const directory = await Deno.makeTempDir({ prefix: "banger-bench-peer-" });
  const ports = { address: "127.0.0.1", stream: freePort(), http: freePort() };
  const forwards = [[ports.stream, STREAM_PORT], [ports.http, HTTP_PORT]]
    .map(([host, guest]) => ({ str: `tcp:127.0.0.1:${host}-:${guest}` }));
  const user = JSON.stringify({ type: "user", id: "net0", hostfwd: forwards });
  const runtime = agent.path.replace(/\/[^/]*$/, "");
  const [program, ...rest] = args.map((arg) =>
    (arg.includes('"type":"stream"') ? user : arg).replace(/,"host_mtu":\d+/, "").replaceAll(
      runtime,
      directory,
    )
  );
  const qemu = new Deno.Command(program!, { args: rest, stdin: "null", stdout: "null", stderr: "null" })
    .spawn();
  await untilReady(ports);
  return {
    ports,
    async [Symbol.asyncDispose]() {
      qemu.kill("SIGKILL");
      await qemu.status;
      await Deno.remove(directory, { recursive: true });
    },
  };
}

async function untilReady(ports: Ports): Promise<void> {
  const deadlineMs = performance.now() + 180_000;
  while ((await getMany(ports, 1, 1)).length > 0) {
    if (performance.now() > deadlineMs) throw new Error(`no server behind ${ports.address}:${ports.http}`);
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}

async function download({ address, stream }: Ports): Promise<void> {
  using connection = await Deno.connect({ hostname: address, port: stream });
  const buffer = new Uint8Array(1024 * 1024);
  let sizeBytes = 0;
  for (let count; (count = await connection.read(buffer)) !== null;) sizeBytes += count;
  if (sizeBytes !== STREAM_BYTES) throw new Error(`${sizeBytes} bytes came of ${STREAM_BYTES}`);
}

/** A connection that sends nothing for so long has failed: a benchmark must end whatever a peer does. */
const ANSWER_WITHIN_MS = 60_000;
const REQUEST = new TextEncoder().encode("GET / HTTP/1.1\r\nHost: guest\r\n\r\n");

/** One connection that is kept; @throws where it ends or says nothing for `ANSWER_WITHIN_MS` */
async function openKeepAlive({ address, http }: Ports): Promise<{ get(): Promise<void> } & Disposable> {
  const connection = await Deno.connect({ hostname: address, port: http });
  const buffer = new Uint8Array(4096);
  const get = async () => {
    await connection.write(REQUEST);
    let text = "";
    while (!text.endsWith("hello")) {
      const count = await connection.read(buffer);
      if (count === null) throw new Error("the connection ended");
      text += new TextDecoder().decode(buffer.subarray(0, count));
    }
  };
  return {
    async get() {
      // Its end fails the read that waits.
      const late = setTimeout(() => connection.close(), ANSWER_WITHIN_MS);
      await get().finally(() => clearTimeout(late));
    },
    [Symbol.dispose]: () => connection[Symbol.dispose](),
  };
}

/** Connects as often as asked for at once, and asks on each. @returns why requests went wrong, one for each */
async function getMany(ports: Ports, connections: number, requests: number): Promise<string[]> {
  const one = async () => {
    let done = 0;
    try {
      using connection = await openKeepAlive(ports);
      for (; done < requests; done++) await connection.get();
      return [];
    } catch (thrown) {
      // Counted: that is what is measured.
      return Array.from({ length: requests - done }, () => String(thrown));
    }
  };
  return (await Promise.all(Array.from({ length: connections }, one))).flat();
}

/**
 * As `getMany`, but each connection is answered once before the next is made: QEMU's hostfwd listens with a
 * backlog of one (`ss -ltn`), so that of 200 connections at once most are lost.
 *
 * @returns how many requests went wrong, and how long all took that came after the first of each connection
 */
async function getManyInTurn(
  ports: Ports,
  connections: number,
  requests: number,
): Promise<{ errors: number; tookMs: number }> {
  using open = new DisposableStack();
  const kept: Awaited<ReturnType<typeof openKeepAlive>>[] = [];
  let errors = 0;
  for (let index = 0; index < connections; index++) {
    const connection = open.use(await openKeepAlive(ports));
    await connection.get().then(() => kept.push(connection), () => errors += requests);
  }
  const tookMs = await timedMs(() =>
    Promise.all(kept.map(async (connection) => {
      for (let done = 1; done < requests; done++) await connection.get().catch(() => errors++);
    }))
  );
  return { errors, tookMs };
}

interface Guests extends AsyncDisposable {
  readonly ours: Ports;
  readonly peer: Ports;
}

async function twoGuests(): Promise<Guests> {
  await using onFailure = new AsyncDisposableStack();
  for (const name of [PEER, OURS]) {
    onFailure.use(removing(name));
    await makeVm(name);
  }
  const peer = onFailure.use(await startPeer());
  const { address } = JSON.parse(await read(BANGER, ["vm", "ports", OURS, "--json"])) as { address: string };
  const ours = { address, stream: STREAM_PORT, http: HTTP_PORT };
  await untilReady(ours);
  const owned = onFailure.move();
  return { ours, peer: peer.ports, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

const stream: Benchmark = {
  name: "network-stream",
  summary: "64 MiB out of a VM through its forwarded port, against QEMU's hostfwd on the same guest",
  maxRatio: 1 / 0.8,
  runs: 5,
  async prepare() {
    const guests = await twoGuests();
    return {
      pair: async () => ({
        oursMs: await timedMs(() => download(guests.ours)),
        peerMs: await timedMs(() => download(guests.peer)),
      }),
      [Symbol.asyncDispose]: () => guests[Symbol.asyncDispose](),
    };
  },
};

const http: Benchmark = {
  name: "network-http",
  summary:
    `${CONNECTIONS} keep-alive connections, 5 requests each at once, against QEMU's hostfwd on the same guest`,
  maxRatio: Infinity,
  runs: 3,
  async prepare() {
    const guests = await twoGuests();
    const errors = { ours: 0, peer: 0 };
    const atOnce: string[] = [];
    const measured = async (whose: "ours" | "peer") => {
      const outcome = await getManyInTurn(guests[whose], CONNECTIONS, REQUESTS_PER_CONNECTION);
      errors[whose] += outcome.errors;
      return outcome.tookMs;
    };
    return {
      async pair() {
        atOnce.push(...await getMany(guests.ours, CONNECTIONS, REQUESTS_PER_CONNECTION));
        return { oursMs: await measured("ours"), peerMs: await measured("peer") };
      },
      notes: () => [
        `errors: ${errors.ours} ours, ${atOnce.length} ours where all connect at once, ${errors.peer} the ` +
        `peer's; ours must be 0: ${errors.ours + atOnce.length === 0 ? "holds" : `MISSED (${atOnce[0]})`}`,
      ],
      [Symbol.asyncDispose]: () => guests[Symbol.asyncDispose](),
    };
  },
};

/** Asks for a name over and over, several at a time. @throws where an answer is lost */
async function lookUp(port: number, count: number): Promise<void> {
  const socket = createSocket("udp4");
  const done = Promise.withResolvers<void>();
  let sent = 0;
  let answered = 0;
  const ask = () => {
    if (sent < count) socket.send(encodeQuery(sent++ & 0xffff, "bench.vm", TYPE.A), port, "127.0.0.1");
  };
  socket.on("message", () => {
    if (++answered === count) done.resolve();
    else ask();
  });
  const timer = setTimeout(
    () => done.reject(new Error(`${answered} of ${count} lookups were answered`)),
    60_000,
  );
  for (let index = 0; index < WINDOW; index++) ask();
  try {
    await done.promise;
  } finally {
    clearTimeout(timer);
    socket.close();
  }
}

/** The daemon's name server, on a port that no other daemon of this host has. */
async function ownNameServer(): Promise<number> {
  const directory = `${Deno.env.get("XDG_CONFIG_HOME") ?? `${Deno.env.get("HOME")}/.config`}/banger`;
  const port = freePort();
  await Deno.mkdir(directory, { recursive: true });
  await Deno.writeTextFile(`${directory}/config.toml`, `[network]\ndns_port = ${port}\n`);
  await run(BANGER, ["daemon", "stop", "--force"]).catch(() => {}); // none ran
  await run(BANGER, ["daemon", "start"]);
  return port;
}

const dns: Benchmark = {
  name: "network-dns",
  summary: `${LOOKUPS} lookups on the loopback, ${WINDOW} at a time, against dnsmasq`,
  maxRatio: Infinity,
  runs: 3,
  async prepare() {
    const port = await ownNameServer();
    const peerPort = freePort();
    const dnsmasq = new Deno.Command("dnsmasq", {
      args: [
        ...["--keep-in-foreground", "--no-resolv", "--no-hosts", "--listen-address=127.0.0.1"],
        ...[
          "--bind-interfaces",
          `--port=${peerPort}`,
          "--address=/bench.vm/127.42.0.1",
          "--pid-file=",
          "--user=",
        ],
      ],
      stderr: "null",
    }).spawn();
    let slowestMs = 0;
    await new Promise((resolve) => setTimeout(resolve, 500));
    return {
      async pair() {
        const oursMs = await timedMs(() => lookUp(port, LOOKUPS));
        slowestMs = Math.max(slowestMs, oursMs);
        return { oursMs, peerMs: await timedMs(() => lookUp(peerPort, LOOKUPS)) };
      },
      notes: () => {
        const perSecond = Math.round(LOOKUPS / slowestMs * 1000);
        const verdict = perSecond >= MIN_LOOKUPS_PER_SECOND ? "holds" : "MISSED";
        return [
          `${perSecond} lookups a second in the slowest run; at least ${MIN_LOOKUPS_PER_SECOND}: ${verdict}`,
        ];
      },
      async [Symbol.asyncDispose]() {
        dnsmasq.kill();
        await dnsmasq.status;
      },
    };
  },
};

export const network: readonly Benchmark[] = [dns, stream, http];
