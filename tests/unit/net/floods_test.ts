/** Guests and programs that ask for too much at once: what is beyond a bound is lost, and nothing waits for it. */
import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import type { Connection } from "../../../lib/base/host.ts";
import { parseVmName } from "../../../lib/base/names.ts";
import { parseNetRule, parsePublish } from "../../../lib/base/net_rules.ts";
import type { Network, OnDatagram, TcpListener } from "../../../lib/base/network.ts";
import { answerQuery } from "../../../lib/net/dns/authority.ts";
import { encodeQuery, parseAnswer, TYPE } from "../../../lib/net/dns/message.ts";
import { DnsServer } from "../../../lib/net/dns/server.ts";
import { EgressPolicy, RefusalLog } from "../../../lib/net/policy.ts";
import { GuestResolver } from "../../../lib/net/user/resolver.ts";

/** Sleeps until it is told that the time is over. */
class ManualClock {
  nowMs = 1_000_000;
  #sleepers: (() => void)[] = [];
  now = () => this.nowMs;
  monotonicMs = () => this.nowMs;

  sleep(_ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#sleepers.push(resolve);
      signal?.addEventListener("abort", () => reject(signal.reason));
    });
  }

  wakeAll(): void {
    for (const wake of this.#sleepers.splice(0)) wake();
  }
}

const NAMES = { addressOf: () => "127.42.0.1", nameAt: () => undefined };
const unused = () => Promise.reject(new Error("not part of this test"));
const files = { readText: () => Promise.resolve("nameserver 192.0.2.53\n") };

Deno.test("a guest that floods its name server has 128 questions under way, and is answered afterwards", async () => {
  const open = new Set<OnDatagram>();
  let most = 0;
  let isAnswering = false;
  const network: Network = {
    connectTcp: unused,
    listenTcp: unused,
    ownAddresses: () => [],
    holdLink: unused,
    offerFrames: unused,
    receiveFrames: unused,
    bindUdp(_address, _port, onMessage) {
      open.add(onMessage);
      most = Math.max(most, open.size);
      return Promise.resolve({
        port: 40_000,
        send(bytes, to) {
          if (isAnswering) onMessage(answerQuery(bytes, NAMES)!, to);
        },
        close: () => open.delete(onMessage),
      });
    },
  };
  const clock = new ManualClock();
  const policy = new EgressPolicy(clock, () => [], [parseNetRule("*")]);
  const host = { network, clock, log: () => {}, files } as unknown as ConstructorParameters<
    typeof GuestResolver
  >[0];
  const resolver = new GuestResolver(host, policy, new RefusalLog(() => clock.now()));
  const question = encodeQuery(1, "web.vm", TYPE.A);
  // Not below .vm, which is answered without asking anybody.
  const other = encodeQuery(1, "example.org", TYPE.A);
  const flood = Array.from({ length: 10_000 }, () => resolver.answer(other, false));
  const silent = await Promise.all(flood.slice(128));
  assert.ok(silent.every((answer) => answer === undefined), "what is beyond meets silence");
  for (let turn = 0; open.size < 128 && turn < 1000; turn++) await Promise.resolve();
  assert.equal(open.size, 128);
  assert.equal(parseAnswer((await resolver.answer(question, false)) ?? new Uint8Array())?.rcode, undefined);
  while (open.size > 0) {
    clock.wakeAll();
    await Promise.resolve();
  }
  const failed = await Promise.all(flood.slice(0, 128));
  assert.ok(failed.every((answer) => answer && (answer[3]! & 0xf) === 2), "SERVFAIL, in time");
  assert.equal(most, 128);
  isAnswering = true;
  assert.ok(await resolver.answer(other, false), "the next question is asked again");
  assert.equal(open.size, 0);
});

/** A client that asks nothing and waits. */
class SilentClient {
  readonly ended = Promise.withResolvers<null>();
  isClosed = false;
  read = () => this.ended.promise;
  write = () => Promise.resolve(0);
  closeWrite = () => Promise.resolve();

  close(): void {
    this.isClosed = true;
    this.ended.resolve(null);
  }
}

Deno.test("the name server keeps 64 TCP connections that ask nothing, for five seconds; datagrams cost nothing", async () => {
  const clients = Array.from({ length: 1000 }, () => new SilentClient());
  const over = Promise.withResolvers<void>();
  const given = Promise.withResolvers<void>();
  let receive: OnDatagram | undefined;
  let sent = 0;
  const listener: TcpListener = {
    port: 53,
    close: () => over.resolve(),
    async *[Symbol.asyncIterator]() {
      yield* clients as unknown as Connection[];
      given.resolve();
      await over.promise;
    },
  };
  const network: Network = {
    connectTcp: unused,
    listenTcp: () => Promise.resolve(listener),
    ownAddresses: () => [],
    holdLink: unused,
    offerFrames: unused,
    receiveFrames: unused,
    bindUdp(_address, _port, onMessage) {
      receive = onMessage;
      return Promise.resolve({ port: 53, send: () => void sent++, close: () => {} });
    },
  };
  const clock = new ManualClock();
  const server = new DnsServer(
    { network, clock, log: () => {} },
    "127.0.0.1",
    53,
    (message) => answerQuery(message, NAMES),
  );
  const stop = new AbortController();
  const running = server.run(stop.signal);
  await given.promise;
  assert.equal(clients.filter(({ isClosed }) => !isClosed).length, 64);
  const from = { address: "127.0.0.1", port: 40_000 };
  const question = encodeQuery(1, "web.vm", TYPE.A);
  for (let count = 0; count < 10_000; count++) receive!(count % 2 ? question : new Uint8Array(5000), from);
  assert.equal(sent, 5000, "questions are answered, what is too long is not");
  clock.wakeAll();
  await Promise.all(clients.map(({ ended }) => ended.promise));
  assert.ok(clients.every(({ isClosed }) => isClosed));
  stop.abort();
  clock.wakeAll();
  await running;
});

for (const text of ["-", "--", "-n", "--help", "-rf", "--publish=80", "-o ProxyCommand=true"]) {
  Deno.test(`${JSON.stringify(text)}, which looks like an option, is no VM's name, no port and no rule`, () => {
    for (const parse of [parseVmName, parsePublish, parseNetRule]) {
      assert.throws(
        () => parse(text),
        (thrown) => thrown instanceof BangerError && thrown.code === "invalid_argument",
      );
    }
  });
}
