import assert from "node:assert/strict";
import { ipv4Number } from "../../../lib/base/net_rules.ts";
import type { Endpoint, OnDatagram } from "../../../lib/base/network.ts";
import { Udp } from "../../../lib/net/user/udp.ts";

const PEER: Endpoint = { address: "203.0.113.5", port: 123 };
const HOST_AS_GUESTS_SEE_IT = ipv4Number("10.0.2.2");

/** One socket of ours, and how many datagrams reach the guest through it. */
async function oneSocket() {
  const sent: Endpoint[] = [];
  let receive: OnDatagram | undefined;
  let delivered = 0;
  const network = {
    bindUdp: (_address: string, _port: number, onMessage: OnDatagram) => {
      receive = onMessage;
      const send = (_bytes: Uint8Array, to: Endpoint) => void sent.push(to);
      return Promise.resolve({ port: 40_000, send, close: () => {} });
    },
  };
  const packets = {
    packet: (_protocol: number, _source: number, sizeBytes: number) => {
      delivered++;
      return new Uint8Array(sizeBytes);
    },
    guestAddress: ipv4Number("10.0.2.15"),
    mtu: 65_520,
    now: () => 0,
  };
  const udp = new Udp({ network, log: () => {} }, packets);
  udp.send(5000, ipv4Number(PEER.address), PEER.port, new Uint8Array(1));
  udp.send(5000, HOST_AS_GUESTS_SEE_IT, 53, new Uint8Array(1));
  for (let turn = 0; turn < 100 && sent.length < 2; turn++) await Promise.resolve();
  const hear = (from: Endpoint) => {
    const before = delivered;
    receive!(new Uint8Array(3), from);
    return delivered > before;
  };
  return { udp, sent, hear };
}

Deno.test("datagrams reach the guest from those that it wrote to, and from nobody else", async () => {
  const { sent, hear } = await oneSocket();
  assert.deepEqual(sent, [PEER, { address: "127.0.0.1", port: 53 }]);
  assert.ok(hear(PEER));
  assert.ok(hear({ address: "127.0.0.1", port: 53 }));
  assert.ok(!hear({ ...PEER, port: 124 }));
  assert.ok(!hear({ ...PEER, address: "203.0.113.6" }));
});

Deno.test("whom other rules do not allow is not heard any more", async () => {
  const { udp, hear } = await oneSocket();
  udp.keepPeers((address, port) => address === HOST_AS_GUESTS_SEE_IT && port === 53);
  assert.ok(!hear(PEER));
  assert.ok(hear({ address: "127.0.0.1", port: 53 }));
  udp.keepPeers(() => false);
  assert.ok(!hear({ address: "127.0.0.1", port: 53 }));
});
