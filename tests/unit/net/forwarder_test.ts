import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import type { Connection } from "../../../lib/base/host.ts";
import { parsePublish } from "../../../lib/base/net_rules.ts";
import type { TcpListener } from "../../../lib/base/network.ts";
import { Forwarder, MAX_FORWARDS } from "../../../lib/net/forward/forwarder.ts";

/** Ports that are open now, and those that cannot be had. */
class FakePorts {
  readonly open = new Set<string>();
  readonly taken = new Set<string>();
  readonly privilegedBelow: number;
  #next = 50_000;

  constructor(privilegedBelow = 0) {
    this.privilegedBelow = privilegedBelow;
  }

  listenTcp(address: string, wanted: number): Promise<TcpListener> {
    const port = wanted === 0 ? this.#next++ : wanted;
    const key = `${address}:${port}`;
    if (port < this.privilegedBelow) {
      return Promise.reject(new BangerError("permission_denied", `Cannot listen on ${key}`));
    }
    if (this.taken.has(key) || this.open.has(key)) {
      return Promise.reject(new BangerError("already_exists", `Cannot listen on ${key}: somebody else does`));
    }
    this.open.add(key);
    const ended = Promise.withResolvers<IteratorResult<Connection>>();
    return Promise.resolve({
      port,
      close: () => {
        this.open.delete(key);
        ended.resolve({ done: true, value: undefined });
      },
      [Symbol.asyncIterator]: () => ({ next: () => ended.promise }),
    });
  }
}

const ADDRESS = "127.42.0.7";
const OPTIONS = { address: ADDRESS, forward: true, publish: [] };

function forwarder(network: FakePorts, options: Partial<typeof OPTIONS> & { publish?: never[] } = {}) {
  const refuse = () => Promise.reject(new BangerError("connection_failed", "nobody"));
  return new Forwarder({ network, log: () => {} }, { ...OPTIONS, ...options }, refuse);
}

Deno.test("what listens in the guest is at the same port; what ends is not", async () => {
  const network = new FakePorts();
  const ports = forwarder(network);
  await ports.update([{ port: 3000, address: "0.0.0.0" }, { port: 22, address: "::" }]);
  assert.deepEqual([...network.open].sort(), [`${ADDRESS}:22`, `${ADDRESS}:3000`]);
  assert.deepEqual(ports.list().map(({ guestPort, hostPort }) => [guestPort, hostPort]), [[22, 22], [
    3000,
    3000,
  ]]);
  await ports.update([{ port: 3000, address: "127.0.0.1" }]);
  assert.deepEqual([...network.open], [`${ADDRESS}:3000`]);
  assert.equal(ports.list()[0]?.guestAddress, "127.0.0.1");
  await ports.close();
  assert.equal(network.open.size, 0);
});

Deno.test("ports that need root, or that are taken, are elsewhere, with a note", async () => {
  const network = new FakePorts(1024);
  network.taken.add(`${ADDRESS}:5000`);
  network.taken.add(`${ADDRESS}:8443`);
  const ports = forwarder(network);
  await ports.update([80, 443, 5000].map((port) => ({ port, address: "0.0.0.0" })));
  const [http, https, other] = ports.list();
  assert.equal(http?.hostPort, 8080);
  assert.match(http?.note ?? "", /port 80 needs root here, so it is at 8080/);
  assert.equal(https?.hostPort, 50_000);
  assert.match(https?.note ?? "", /port 443 needs root here, so it is at 50000/);
  assert.equal(other?.hostPort, 50_001);
  assert.match(other?.note ?? "", /port 5000 of 127.42.0.7 is taken by another program, so it is at 50001/);
  await ports.close();
});

Deno.test("a guest with 10,000 listeners gets a bounded number of ports", async () => {
  const network = new FakePorts();
  const ports = forwarder(network);
  await ports.update(Array.from({ length: 10_000 }, (_, index) => ({ port: index + 1, address: "0.0.0.0" })));
  assert.equal(network.open.size, MAX_FORWARDS);
  await ports.update([]);
  assert.equal(network.open.size, 0);
  await ports.close();
});

Deno.test("published ports are there at once, and follow the settings", async () => {
  const network = new FakePorts();
  network.taken.add("127.0.0.1:9000");
  const ports = forwarder(network, { forward: false });
  const publish = ["8080:80", "9000", "0.0.0.0:7000:70"].map(parsePublish);
  await ports.configure({ address: ADDRESS, forward: false, publish });
  await ports.update([{ port: 3000, address: "0.0.0.0" }]);
  assert.deepEqual([...network.open].sort(), ["0.0.0.0:7000", "127.0.0.1:8080"]);
  assert.match(ports.list().find(({ guestPort }) => guestPort === 9000)?.note ?? "", /somebody else does/);
  await ports.configure({ address: ADDRESS, forward: true, publish: publish.slice(0, 1) });
  assert.deepEqual([...network.open].sort(), ["127.0.0.1:8080", `${ADDRESS}:3000`]);
  await ports.close();
  assert.equal(network.open.size, 0);
});
