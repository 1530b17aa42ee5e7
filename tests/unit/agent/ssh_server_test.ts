import assert from "node:assert/strict";
import { generateSshKeyPair } from "../../../lib/guest/ssh/keys.ts";
import type { Descriptors } from "../../../agent/descriptor.ts";
import { serveSshClient } from "../../../agent/ssh/server.ts";
import { parseAuthorizedKeys, parseHostKey } from "../../../agent/ssh/keys.ts";
import { MESSAGE } from "../../../agent/ssh/messages.ts";
import { SshReader, SshWriter } from "../../../agent/ssh/wire.ts";
import { BangerError } from "../../../lib/base/errors.ts";
import { connectionPair, readToEnd, writeAll } from "../guest/memory_connection.ts";

const HOST_KEY = generateSshKeyPair("host").privateKey;
const CLIENT_KEY = generateSshKeyPair("client").publicKey;
const VERSION = new TextEncoder().encode("SSH-2.0-test\r\n");
const MODERN = [
  "curve25519-sha256,kex-strict-c-v00@openssh.com",
  "ssh-ed25519",
  "aes128-gcm@openssh.com",
] as const;

/** A packet before there are keys. */
function packet(
  payload: Uint8Array,
  { length, padding }: { length?: number; padding?: number } = {},
): Uint8Array {
  const paddingBytes = 4 + (8 - (5 + payload.length + 4) % 8) % 8;
  const writer = new SshWriter().u32(length ?? 1 + payload.length + paddingBytes).u8(padding ?? paddingBytes);
  return writer.bytes(payload).bytes(new Uint8Array(paddingBytes)).done();
}

function offer([kex, hostKey, cipher]: readonly [string, string, string], first = false): Uint8Array {
  const writer = new SshWriter().u8(MESSAGE.kexInit).bytes(new Uint8Array(16)).string(kex).string(hostKey);
  for (const names of [cipher, cipher, "hmac-sha2-256", "hmac-sha2-256", "none", "none", "", ""]) {
    writer.string(names);
  }
  return writer.boolean(first).u32(0).done();
}

const point = (bytes: Uint8Array) => new SshWriter().u8(MESSAGE.ecdhInit).string(bytes).done();
const service = new SshWriter().u8(MESSAGE.serviceRequest).string("ssh-userauth").done();
const login = new SshWriter().u8(MESSAGE.userauthRequest).string("root").string("ssh-connection").string(
  "none",
).done();
const x25519 = () => new Uint8Array(32).fill(9);

const ATTACKS: readonly (readonly [string, readonly Uint8Array[]])[] = [
  ["another protocol", [new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n")]],
  ["the old protocol", [new TextEncoder().encode("SSH-1.5-old\n")]],
  ["a version without an end", [new Uint8Array(100_000).fill(0x41)]],
  ["nothing", []],
  ["half a packet", [VERSION, packet(offer(MODERN)).subarray(0, 50)]],
  ["a packet of 4 GiB", [VERSION, packet(offer(MODERN), { length: 0xffff_ffff })]],
  ["a packet of no bytes", [VERSION, packet(offer(MODERN), { length: 0 })]],
  ["padding beyond the packet", [VERSION, packet(offer(MODERN), { padding: 255 })]],
  ["too little padding", [VERSION, packet(offer(MODERN), { padding: 0 })]],
  ["an offer that is cut off", [VERSION, packet(offer(MODERN).subarray(0, 30))]],
  ["no key exchange of ours", [VERSION, packet(offer(["diffie-hellman-group1-sha1", MODERN[1], MODERN[2]]))]],
  ["no cipher of ours", [VERSION, packet(offer([MODERN[0], MODERN[1], "3des-cbc,none"]))]],
  ["no host key of ours", [VERSION, packet(offer([MODERN[0], "ssh-rsa", MODERN[2]]))]],
  ["a log-in before there are keys", [VERSION, packet(service)]],
  ["a log-in instead of the exchange", [VERSION, packet(offer(MODERN)), packet(login)]],
  ["a message slipped in before the keys", [VERSION, packet(Uint8Array.of(MESSAGE.ignore, 0, 0, 0, 0))]],
  ["a second offer", [VERSION, packet(offer(MODERN)), packet(offer(MODERN))]],
  ["a point of order one", [VERSION, packet(offer(MODERN)), packet(point(new Uint8Array(32)))]],
  ["a point that is too short", [VERSION, packet(offer(MODERN)), packet(point(new Uint8Array(31)))]],
  ["plain text after the exchange", [
    VERSION,
    packet(offer(MODERN)),
    packet(point(x25519())),
    packet(service),
    packet(login),
  ]],
  ["new keys before the exchange", [VERSION, packet(offer(MODERN)), packet(Uint8Array.of(MESSAGE.newKeys))]],
  [
    "new keys, then what was not encrypted",
    [
      VERSION,
      packet(offer(MODERN)),
      packet(point(x25519())),
      packet(Uint8Array.of(MESSAGE.newKeys)),
      packet(service),
    ],
  ],
];

const UNFINISHED = ["nothing", "half a packet"];

for (const [why, messages] of ATTACKS) {
  Deno.test(`the ssh server lets nobody in for ${why}`, async () => {
    const [client, server] = connectionPair();
    const refusals: unknown[] = [];
    const serving = serveSshClient(server, {
      descriptors: {} as Descriptors,
      log: (_level, _message, fields) => refusals.push(fields?.reason),
      hostKey: HOST_KEY,
      authorizedKeys: CLIENT_KEY,
    });
    const reading = readToEnd(client);
    for (const message of messages) await writeAll(client, message).catch(() => {}); // it may have hung up
    await client.closeWrite();
    await serving;
    const answer = new TextDecoder("latin1").decode(await reading);
    assert.ok(answer.startsWith("SSH-2.0-banger\r\n"), answer.slice(0, 40));
    // Who only goes is no offender.
    assert.equal(refusals.length, UNFINISHED.includes(why) ? 0 : 1, `${refusals}`);
  });
}

Deno.test("what is random is no ssh, and does no harm", async () => {
  for (let seed = 0; seed < 20; seed++) {
    const [client, server] = connectionPair();
    const options = {
      descriptors: {} as Descriptors,
      log: () => {},
      hostKey: HOST_KEY,
      authorizedKeys: CLIENT_KEY,
    };
    const serving = serveSshClient(server, options);
    const reading = readToEnd(client);
    await writeAll(client, VERSION);
    await writeAll(client, crypto.getRandomValues(new Uint8Array(5000))).catch(() => {}); // it may have hung up
    await client.closeWrite();
    await serving;
    await reading;
  }
});

Deno.test("SshWriter and SshReader agree; numbers are as short as the protocol wants them", () => {
  const bytes = new SshWriter(1).u8(7).boolean(true).u32(0xffff_ffff).u64(2n ** 52n).string("ü").done();
  const reader = new SshReader(bytes);
  assert.deepEqual([reader.u8(), reader.boolean(), reader.u32(), reader.u64(), reader.text()], [
    7,
    true,
    0xffff_ffff,
    2 ** 52,
    "ü",
  ]);
  assert.throws(() => reader.u8(), BangerError);
  assert.throws(() => new SshReader(Uint8Array.of(0xff, 0xff, 0xff, 0xff)).string(), BangerError);
  // The examples of RFC 4251, section 5.
  const mpint = (...value: number[]) => [...new SshWriter().mpint(Uint8Array.from(value)).done()];
  assert.deepEqual(mpint(0), [0, 0, 0, 0]);
  assert.deepEqual(mpint(0x09, 0xa3, 0x78), [0, 0, 0, 3, 0x09, 0xa3, 0x78]);
  assert.deepEqual(mpint(0, 0x80), [0, 0, 0, 2, 0, 0x80]);
});

Deno.test("keys: only ed25519 ones count, and a host key must be one", () => {
  assert.equal(parseAuthorizedKeys(`# x\nssh-rsa AAAA\n\n${CLIENT_KEY}\nssh-ed25519\n`).length, 1);
  for (const text of ["", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END", "x".repeat(1000)]) {
    assert.throws(() => parseHostKey(text), BangerError);
  }
});
