import assert from "node:assert/strict";
import { writeFully } from "../../../lib/base/bytes.ts";
import type { Connection } from "../../../lib/base/host.ts";
import { parseNetRule } from "../../../lib/base/net_rules.ts";
import { tapGuest, whyNoNamespaces } from "./tap_guest.ts";

const why = await whyNoNamespaces();
if (why) console.log(`skipped: the guest's network, judged by the kernel's: ${why}`);

function test(name: string, body: () => Promise<void>): void {
  Deno.test({ name, ignore: why !== undefined, fn: body });
}

/** Python serves as the guest's programs: it is there, and its sockets are the kernel's. */
const ECHO = `
import socket, threading
s = socket.create_server(("0.0.0.0", 7000), backlog=512)
def echo(c):
    total = 0
    while data := c.recv(65536):
        c.sendall(data)
    c.shutdown(socket.SHUT_WR)
    c.close()
while True:
    threading.Thread(target=echo, args=(s.accept()[0],), daemon=True).start()
`;

async function connectWhenUp(connect: () => Promise<Connection>): Promise<Connection> {
  for (let attempt = 0;; attempt++) {
    try {
      return await connect();
    } catch (thrown) {
      if (attempt > 100) throw thrown;
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
  }
}

async function readAll(connection: Connection): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  const buffer = new Uint8Array(256 * 1024);
  for (let count; (count = await connection.read(buffer)) !== null;) parts.push(buffer.slice(0, count));
  return new Uint8Array(await new Blob(parts as Uint8Array<ArrayBuffer>[]).arrayBuffer());
}

async function echoed(connection: Connection, bytes: Uint8Array): Promise<Uint8Array> {
  const [, back] = await Promise.all([
    (async () => {
      await writeFully((part) => connection.write(part), bytes);
      await connection.closeWrite();
    })(),
    readAll(connection),
  ]);
  connection.close();
  return back;
}

function noise(sizeBytes: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(sizeBytes);
  for (let at = 0; at < sizeBytes; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  return bytes;
}

test("into the guest: every byte comes back, whatever the size, and 200 connections at once", async () => {
  await using guest = await tapGuest();
  const server = guest.spawn("python3", "-c", ECHO);
  try {
    (await connectWhenUp(() => guest.network.connect(7000))).close();
    for (const sizeBytes of [0, 1, 65_480, 65_481, 1_000_003, 30_000_000]) {
      const sent = noise(sizeBytes);
      const back = await echoed(await guest.network.connect(7000), sent);
      assert.equal(back.length, sizeBytes);
      assert.ok(back.every((byte, at) => byte === sent[at]), `${sizeBytes} bytes are the same`);
    }
    const many = await Promise.all(Array.from({ length: 200 }, async () => {
      const sent = noise(20_000);
      const back = await echoed(await guest.network.connect(7000), sent);
      return back.length === sent.length && back.every((byte, at) => byte === sent[at]);
    }));
    assert.ok(many.every(Boolean));
  } finally {
    server.kill("SIGKILL");
    await server.status;
  }
});

test("frames that get lost are sent again, both ways", async () => {
  await using guest = await tapGuest(["*"], 0.03);
  const server = guest.spawn("python3", "-c", ECHO);
  try {
    (await connectWhenUp(() => guest.network.connect(7000))).close();
    const sent = noise(4_000_000);
    const back = await echoed(await guest.network.connect(7000), sent);
    assert.equal(back.length, sent.length);
    assert.ok(back.every((byte, at) => byte === sent[at]));
  } finally {
    server.kill("SIGKILL");
    await server.status;
  }
});

test("a port that nobody listens on refuses at once, and a guest's reset reaches us", async () => {
  await using guest = await tapGuest();
  await assert.rejects(guest.network.connect(7001), /nothing listens there/);
  const reset = guest.spawn(
    "python3",
    "-c",
    'import socket, struct\ns = socket.create_server(("0.0.0.0", 7002))\nc = s.accept()[0]\nc.recv(1)\n' +
      'c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))\nc.close()',
  );
  const connection = await connectWhenUp(() => guest.network.connect(7002));
  await connection.write(new Uint8Array(1));
  await assert.rejects(connection.read(new Uint8Array(10)), /the guest cut the connection/);
  connection.close();
  await reset.status;
});

test("a guest that does not read holds up the writer, with bounded memory, and goes on", async () => {
  await using guest = await tapGuest();
  const slow = guest.spawn(
    "python3",
    "-c",
    'import socket, time\ns = socket.create_server(("0.0.0.0", 7003))\nc = s.accept()[0]\ntime.sleep(1.5)\n' +
      "n = 0\nwhile d := c.recv(65536): n += len(d)\nc.sendall(str(n).encode())\nc.close()",
  );
  const connection = await connectWhenUp(() => guest.network.connect(7003));
  const piece = new Uint8Array(256 * 1024);
  let written = 0;
  const writing = (async () => {
    for (; written < 40 * 1024 * 1024; written += piece.length) {
      await writeFully((part) => connection.write(part), piece);
    }
    await connection.closeWrite();
  })();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  // Our queue, and the kernel's own buffers at the other end.
  assert.ok(written < 16 * 1024 * 1024, `${written} bytes were taken for a guest that reads none`);
  await writing;
  assert.equal(new TextDecoder().decode(await readAll(connection)), String(40 * 1024 * 1024));
  connection.close();
  await slow.status;
});

test("out of the guest: only what the policy allows, and what it refused is known", async () => {
  const server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen: () => {} },
    () => new Response("here"),
  );
  const { port } = server.addr;
  try {
    await using guest = await tapGuest(["*"]);
    const curl = (url: string) => guest.run("curl", "-sS", "--max-time", "5", url);
    const own = Deno.networkInterfaces().find(({ family, address }) =>
      family === "IPv4" && !address.startsWith("127.")
    );
    for (const address of ["10.0.2.2", "169.254.169.254", ...(own ? [own.address] : [])]) {
      const { code, stderr } = await curl(`http://${address}:${port}/`);
      assert.equal(code, 7, `${address}: ${stderr}`);
    }
    assert.deepEqual(
      guest.network.refusals().map(({ protocol, target }) => `${protocol} ${target}`).sort(),
      [
        "tcp 10.0.2.2",
        "tcp 169.254.169.254",
        ...(own ? [`tcp ${own.address}`] : []),
      ].sort(),
    );
    guest.network.changeRules([parseNetRule(`10.0.2.2:${port}`)]);
    assert.equal((await curl(`http://10.0.2.2:${port}/`)).stdout, "here");
    assert.equal((await curl("http://192.0.2.77:80/")).code, 7, "nothing else is allowed now");
    const dig = await guest.run("dig", "+time=2", "+tries=1", "@10.0.2.3", "example.org");
    assert.match(dig.stdout, /status: REFUSED/);
    assert.match(dig.stdout, /EDE: 18 \(Prohibited\).*Do not work around it/);
    const hostName = await guest.run("dig", "+short", "+tcp", "@10.0.2.3", "host.banger.internal");
    assert.equal(hostName.stdout.trim(), "10.0.2.2");
    assert.match((await guest.run("dig", "@10.0.2.3", "web.vm")).stdout, /status: NXDOMAIN/);
    assert.equal(guest.network.refusals()[0]?.target, "example.org");
  } finally {
    await server.shutdown();
  }
});

test("a connection that a changed policy does not allow is cut", async () => {
  const listener = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  const { port } = listener.addr;
  await using guest = await tapGuest([`host.banger.internal:${port}`]);
  const client = guest.run(
    "python3",
    "-c",
    `import socket\nc = socket.create_connection(("10.0.2.2", ${port}))\nc.sendall(b"x")\n` +
      'try:\n  print("end" if c.recv(1) == b"" else "data")\nexcept ConnectionResetError:\n  print("cut")',
  );
  const connection = await listener.accept();
  await connection.read(new Uint8Array(1));
  guest.network.changeRules([]);
  assert.equal((await client).stdout.trim(), "cut");
  connection.close();
  listener.close();
});

test("frames of all kinds of nonsense leave the network as it was", async () => {
  // Nothing is allowed: what the noise asks for must not go anywhere.
  await using guest = await tapGuest([]);
  const flood =
    'import os, random, socket\ns = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\ns.bind(("eth0", 0))\n' +
    'random.seed(7)\nhead = bytes.fromhex("52550a0002025254004200010800")\nbase = bytes.fromhex(' +
    '"4500002800004000400600000a00020fc000020a1f400050000000010000000050020fff00000000")\n' +
    "for i in range(20000):\n  p = bytearray(base + os.urandom(random.randrange(0, 200)))\n" +
    "  for _ in range(random.randrange(0, 8)): p[random.randrange(0, 40)] = random.randrange(0, 256)\n" +
    "  s.send(bytes(head) + bytes(p[:random.randrange(1, len(p))]))\n";
  const { code, stderr } = await guest.run("python3", "-c", flood);
  assert.equal(code, 0, stderr);
  const { stdout } = await guest.run("dig", "+short", "+time=3", "@10.0.2.3", "host.banger.internal");
  assert.equal(stdout.trim(), "10.0.2.2");
});
