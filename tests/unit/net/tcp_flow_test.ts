import assert from "node:assert/strict";
import { ipv4Number } from "../../../lib/base/net_rules.ts";
import { type Segment, TCP_FLAG } from "../../../lib/net/user/packets.ts";
import type { SegmentSender } from "../../../lib/net/user/segments.ts";
import { TcpFlow } from "../../../lib/net/user/tcp_flow.ts";

type Sent = Parameters<SegmentSender["send"]>[1];

/** A connection that we ask the guest for, and what it sends; the guest is the test. */
function asking() {
  const sent: Sent[] = [];
  let nowMs = 0;
  const sender: SegmentSender = {
    send: (_flow, segment) => {
      sent.push(segment);
      return true;
    },
    due: (flow) => void flow.pump(),
    ended: () => {},
    now: () => nowMs,
    heldBytes: 65_536,
  };
  const ends = { guestPort: 80, remoteAddress: ipv4Number("10.0.2.2"), remotePort: 5000 };
  const flow = new TcpFlow(sender, ends, 1460);
  flow.open();
  const answer = (flags: number, sequence: number, acknowledgement: number) => {
    const segment: Segment = {
      ...{ sourcePort: 80, destinationPort: 5000, sequence, acknowledgement, flags, window: 1000 },
      payload: new Uint8Array(0),
    };
    flow.take(segment);
    flow.pump();
    return sent.splice(0);
  };
  const tick = (ms: number) => {
    nowMs += ms;
    flow.tick(nowMs);
    return sent.splice(0);
  };
  return { flow, syn: sent.splice(0)[0]!, answer, tick };
}

Deno.test("a guest that still keeps an older connection by these ports is reset, and the new one is made", async () => {
  const { flow, syn, answer } = asking();
  const old = (syn.sequence - 12_345) >>> 0;
  const [reset, again] = answer(TCP_FLAG.ack, 700, old);
  assert.deepEqual([reset?.flags, reset?.sequence], [TCP_FLAG.rst, old]);
  assert.deepEqual([again?.flags, again?.sequence], [TCP_FLAG.syn, syn.sequence]);
  const opened = answer(TCP_FLAG.syn | TCP_FLAG.ack, 9000, (syn.sequence + 1) >>> 0);
  assert.deepEqual(opened.map(({ flags }) => flags), [TCP_FLAG.ack]);
  await flow.opened;
});

Deno.test("a guest that answers every SYN with the wrong number gets one back at once, then one in its time", async () => {
  const { flow, syn, answer, tick } = asking();
  for (const flags of [TCP_FLAG.ack, TCP_FLAG.syn | TCP_FLAG.ack]) {
    const wrong = (syn.sequence + 2) >>> 0;
    const count = answer(flags, 700, wrong).filter(({ flags }) => flags === TCP_FLAG.syn).length;
    assert.equal(count, flags === TCP_FLAG.ack ? 1 : 0);
    for (let time = 0; time < 100; time++) {
      assert.equal(answer(flags, 700, wrong).length, 1, "the reset only");
    }
  }
  assert.deepEqual(tick(999), []);
  assert.deepEqual(tick(1).map(({ flags }) => flags), [TCP_FLAG.syn]);
  for (let time = 0; time < 8; time++) tick(16_000);
  await assert.rejects(flow.opened, /the guest does not answer/);
});
