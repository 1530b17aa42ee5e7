import assert from "node:assert/strict";
import { answerQuery, type Names } from "../../../lib/net/dns/authority.ts";
import { encodeQuery, parseAnswer, parseQuery, TYPE } from "../../../lib/net/dns/message.ts";

const NAMES: Names = {
  addressOf: (label) => label === "web" ? "127.42.0.1" : undefined,
  nameAt: (address) => address === "127.42.0.1" ? "web" : undefined,
};

function ask(name: string, type: number) {
  const message = answerQuery(encodeQuery(7, name, type), NAMES);
  assert.ok(message);
  const answer = parseAnswer(message);
  assert.ok(answer);
  assert.equal(answer.id, 7);
  const isAuthoritative = (message[2]! & 4) !== 0;
  const counts = [7, 9, 11].map((at) => message[at]);
  return { ...answer, isAuthoritative, counts };
}

Deno.test("a running VM has an address, nothing else, and a short life", () => {
  const a = ask("WEB.vm", TYPE.A);
  assert.equal(a.rcode, 0);
  assert.ok(a.isAuthoritative);
  assert.deepEqual([...a.answers[0]!.data], [127, 42, 0, 1]);
  assert.equal(a.answers[0]?.ttlSeconds, 5);
  assert.equal(ask("web.vm", TYPE.ANY).answers.length, 1);
  const aaaa = ask("web.vm", TYPE.AAAA);
  assert.deepEqual([aaaa.rcode, aaaa.counts], [0, [0, 1, 0]], "no error, no answer, the SOA beside");
});

const NEGATIVE: readonly (readonly [string, number, number, boolean])[] = [
  ["gone.vm", TYPE.A, 3, true],
  ["x.web.vm", TYPE.A, 3, true],
  ["web\\046vm", TYPE.A, 5, false],
  ["vm", TYPE.A, 0, true],
  ["2.0.42.127.in-addr.arpa", TYPE.PTR, 3, true],
  ["0.42.127.in-addr.arpa", TYPE.PTR, 0, true],
  ["1.0.42.127.in-addr.arpa", TYPE.A, 0, true],
  ["01.0.42.127.in-addr.arpa", TYPE.PTR, 3, true],
  ["256.0.42.127.in-addr.arpa", TYPE.PTR, 3, true],
  ["1.1.0.42.127.in-addr.arpa", TYPE.PTR, 3, true],
  ["example.org", TYPE.A, 5, false],
  ["", TYPE.NS, 5, false],
  ["notvm", TYPE.A, 5, false],
  ["1.0.0.127.in-addr.arpa", TYPE.PTR, 5, false],
  ["vm", TYPE.AXFR, 5, false],
];
for (const [name, type, rcode, isAuthoritative] of NEGATIVE) {
  Deno.test(`${JSON.stringify(name)} type ${type} is answered with code ${rcode}`, () => {
    const answer = ask(name, type);
    assert.deepEqual([answer.rcode, answer.answers.length, answer.isAuthoritative], [
      rcode,
      0,
      isAuthoritative,
    ]);
  });
}

Deno.test("an address has its name back, and the zones have their SOA and NS", () => {
  const ptr = ask("1.0.42.127.in-addr.arpa", TYPE.PTR);
  assert.deepEqual([...ptr.answers[0]!.data], [3, ...new TextEncoder().encode("web"), 2, 118, 109, 0]);
  for (const zone of ["vm", "42.127.in-addr.arpa"]) {
    for (const type of [TYPE.SOA, TYPE.NS]) assert.equal(ask(zone, type).answers[0]?.type, type);
  }
});

/** Messages by hand, each wrong in its own way: header fields, then bytes. */
function malformed(): Uint8Array[] {
  const good = encodeQuery(1, "web.vm", TYPE.A);
  const changed = (change: (bytes: Uint8Array) => void) => {
    const copy = good.slice();
    change(copy);
    return copy;
  };
  const cases: Uint8Array[] = [];
  for (let length = 0; length < good.length; length++) cases.push(good.slice(0, length));
  for (let opcode = 1; opcode < 16; opcode++) cases.push(changed((m) => m[2] = opcode << 3));
  for (const at of [5, 7, 9, 11]) {
    for (const count of [0, 2, 17, 255]) {
      cases.push(changed((m) => m[at] = at === 5 || count > 0 ? count : 9));
    }
  }
  for (let length = 4; length < 256; length++) cases.push(changed((m) => m[12] = length));
  // Pointers: forwards, to themselves, into the header, beyond the end, in a ring.
  for (
    const [high, low] of [[0xc0, 12], [0xc0, 13], [0xc0, 0], [0xff, 0xff], [0xc0, 20], [0x80, 12], [0x40, 1]]
  ) {
    cases.push(changed((m) => m.set([high!, low!], 12)));
  }
  // A name of 256 bytes, of 64-byte labels, of pointers only, one without an end.
  const long = new Uint8Array(12 + 5 * 64 + 5);
  long.set(good.subarray(0, 12));
  for (let label = 0; label < 5; label++) long[12 + 64 * label] = 63;
  cases.push(long, new Uint8Array([...good.subarray(0, 12), ...new Array(300).fill(1)]));
  // Two OPT records; one whose length is a lie; one with a name.
  const opt = [0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0];
  const withOpt = (...parts: number[][]) => {
    const message = new Uint8Array([...good, ...parts.flat()]);
    message[11] = parts.length;
    return message;
  };
  cases.push(withOpt(opt, opt), withOpt([...opt.slice(0, 9), 0xff, 0xff]), withOpt([1, 97, ...opt]));
  return cases;
}

Deno.test("hundreds of malformed messages are refused or dropped, never answered with data", () => {
  const cases = malformed();
  assert.ok(cases.length >= 300, String(cases.length));
  for (const [index, message] of cases.entries()) {
    const answer = answerQuery(message, NAMES);
    if (!answer) continue;
    assert.notEqual(answer[3]! & 0xf, 0, `case ${index}: ${message}`);
    assert.equal(answer[7], 0, `case ${index} has no answer record`);
  }
});

Deno.test("answers, and what is too short to be a question, meet silence", () => {
  for (const message of [new Uint8Array(0), new Uint8Array(11)]) {
    assert.equal(answerQuery(message, NAMES), undefined);
  }
  const answer = answerQuery(encodeQuery(1, "web.vm", TYPE.A), NAMES)!;
  assert.equal(answerQuery(answer, NAMES), undefined);
});

Deno.test("EDNS: our size is told, a version we do not know is refused (BADVERS)", () => {
  const query = (version: number) => {
    const message = new Uint8Array([
      ...encodeQuery(1, "web.vm", TYPE.A),
      0,
      0,
      41,
      16,
      0,
      0,
      version,
      0,
      0,
      0,
      0,
    ]);
    message[11] = 1;
    return answerQuery(message, NAMES)!;
  };
  const known = query(0);
  assert.equal(known[11], 1, "an OPT record comes back");
  assert.deepEqual([...known.subarray(-11)], [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]);
  const unknown = query(1);
  assert.equal(unknown[7], 0, "no answer");
  assert.equal(unknown.at(-6), 1, "the upper bits of BADVERS");
});

/** Reproducible: a failure names its seed. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

Deno.test("fuzz: 30,000 changed messages never throw, never give more than was asked", () => {
  const seeds = [
    encodeQuery(1, "web.vm", TYPE.A),
    encodeQuery(2, "1.0.42.127.in-addr.arpa", TYPE.PTR),
    answerQuery(encodeQuery(3, "web.vm", TYPE.A), NAMES)!,
  ];
  for (let run = 0; run < 30_000; run++) {
    const next = random(run);
    const message = Uint8Array.from(seeds[run % seeds.length]!);
    for (let changes = 1 + Math.floor(next() * 6); changes > 0; changes--) {
      message[Math.floor(next() * message.length)] = Math.floor(next() * 256);
    }
    const cut = message.subarray(0, next() < 0.2 ? Math.floor(next() * message.length) : message.length);
    try {
      parseQuery(cut);
      parseAnswer(cut);
      const answer = answerQuery(cut, NAMES);
      assert.ok(answer === undefined || answer.length < 512);
    } catch (thrown) {
      assert.fail(`seed ${run}: ${thrown}`);
    }
  }
});
