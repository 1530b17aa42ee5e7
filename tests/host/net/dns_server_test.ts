import assert from "node:assert/strict";
import { realHost } from "../../../lib/sys/host.ts";
import { libc } from "../../../lib/sys/libc.ts";
import { answerQuery } from "../../../lib/net/dns/authority.ts";
import { dnsmasqConfig } from "../../../lib/net/dns/host_setup.ts";
import { DnsServer } from "../../../lib/net/dns/server.ts";

// Loaded for the life of the process, not of the first test that needs it.
libc();

const NAMES = {
  addressOf: (label: string) => label === "web" ? "127.42.0.1" : undefined,
  nameAt: (address: string) => address === "127.42.0.1" ? "web" : undefined,
};

interface Served extends AsyncDisposable {
  readonly port: number;
  readonly server: DnsServer;
}

function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  return port;
}

async function serve(port = freePort()): Promise<Served> {
  const server = new DnsServer(realHost(), "127.0.0.1", port, (message) => answerQuery(message, NAMES));
  const stop = new AbortController();
  const running = server.run(stop.signal);
  while (!server.status().isServing && server.status().problem === "it has not begun") {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return {
    port,
    server,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
    },
  };
}

async function dig(port: number, ...args: string[]): Promise<string> {
  const { stdout } = await new Deno.Command("dig", {
    args: ["@127.0.0.1", "-p", String(port), "+time=2", "+tries=1", ...args],
  }).output();
  return new TextDecoder().decode(stdout);
}

Deno.test("dig agrees: over UDP and TCP, forwards and backwards, what is there and what is not", async () => {
  await using served = await serve();
  const { port } = served;
  for (const way of ["+notcp", "+tcp"]) {
    assert.equal((await dig(port, way, "+short", "web.vm")).trim(), "127.42.0.1");
    assert.equal((await dig(port, way, "+short", "-x", "127.42.0.1")).trim(), "web.vm.");
    const none = await dig(port, way, "gone.vm");
    assert.match(none, /status: NXDOMAIN/);
    assert.match(none, /^vm\.\s+1\s+IN\s+SOA/m);
    assert.match(await dig(port, way, "example.org"), /status: REFUSED/);
    const empty = await dig(port, way, "web.vm", "AAAA");
    assert.match(empty, /status: NOERROR.*[\s\S]*ANSWER: 0, AUTHORITY: 1/);
  }
  const answer = await dig(port, "web.vm");
  assert.match(answer, /flags: qr aa rd;/);
  assert.match(answer, /^web\.vm\.\s+5\s+IN\s+A\s+127\.42\.0\.1$/m);
  assert.doesNotMatch(answer, /MALFORMED|WARNING: .*extra/);
  assert.match(await dig(port, "+edns=3", "+noednsnegotiation", "web.vm"), /status: BADVERS/);
  assert.match(await dig(port, "vm", "AXFR"), /Transfer failed|REFUSED/);
});

Deno.test("a port that is taken: the server says so, and takes it once it is free", async () => {
  await using first = await serve();
  await using second = await serve(first.port);
  assert.match(second.server.status().problem ?? "", /somebody else does/);
  assert.equal((await dig(first.port, "+short", "web.vm")).trim(), "127.42.0.1");
});

Deno.test("dnsmasq, with the file that is written for NetworkManager, asks us for .vm", async () => {
  await using served = await serve();
  const directory = await Deno.makeTempDir({ prefix: "banger-dnsmasq-" });
  const path = `${directory}/banger.conf`;
  await Deno.writeTextFile(path, dnsmasqConfig({ address: "127.0.0.1", port: served.port }));
  const port = freePort();
  const dnsmasq = new Deno.Command("dnsmasq", {
    args: [
      "--keep-in-foreground",
      "--no-resolv",
      "--no-hosts",
      "--listen-address=127.0.0.1",
      "--bind-interfaces",
      `--port=${port}`,
      `--conf-file=${path}`,
      "--pid-file=",
      "--user=",
    ],
    stdout: "null",
    stderr: "null",
  }).spawn();
  try {
    let answer = "";
    for (let attempt = 0; attempt < 20 && !answer.includes("127.42.0.1"); attempt++) {
      answer = await dig(port, "+short", "web.vm");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.equal(answer.trim(), "127.42.0.1");
    assert.equal((await dig(port, "+short", "-x", "127.42.0.1")).trim(), "web.vm.");
  } finally {
    dnsmasq.kill();
    await dnsmasq.status;
    await Deno.remove(directory, { recursive: true });
  }
});
