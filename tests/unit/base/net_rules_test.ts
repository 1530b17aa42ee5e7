import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import {
  formatPublish,
  ipv4Number,
  ipv4Text,
  type NetRule,
  parseNetRule,
  parsePublish,
} from "../../../lib/base/net_rules.ts";

const PUBLISH = [
  ["8080", "127.0.0.1:8080:8080"],
  ["8080:80", "127.0.0.1:8080:80"],
  ["0.0.0.0:8080:80", "0.0.0.0:8080:80"],
  ["192.0.2.1:8080", "192.0.2.1:8080:8080"],
  ["[::1]:8080:80", "[::1]:8080:80"],
] as const;
for (const [text, whole] of PUBLISH) {
  Deno.test(`parsePublish() takes ${text}`, () => {
    const parsed = parsePublish(text);
    assert.equal(formatPublish(parsed), whole);
    assert.deepEqual(parsePublish(whole), parsed);
  });
}

const BAD_PUBLISH = [
  "",
  "0",
  "65536",
  "80:0",
  "-1",
  "--help",
  "web:80",
  "1.2.3:80:80",
  "::1:80:80",
  "[web]:80",
  "80:80:80",
  "127.0.0.1:80:80:80",
  "80 ",
  "127.0.0.1:",
  "256.0.0.1:80",
  "80/udp",
];
for (const text of BAD_PUBLISH) {
  Deno.test(`parsePublish() refuses ${JSON.stringify(text)}`, () => {
    assert.throws(() => parsePublish(text), BangerError);
  });
}

const RULES: readonly (readonly [string, NetRule])[] = [
  ["*", { kind: "any" }],
  ["packages.example.net", { kind: "name", name: "packages.example.net", isBelow: false }],
  ["PACKAGES.Example.net.:443", { kind: "name", name: "packages.example.net", isBelow: false, port: 443 }],
  ["*.debian.org", { kind: "name", name: "debian.org", isBelow: true }],
  ["localhost", { kind: "name", name: "localhost", isBelow: false }],
  ["192.0.2.7:5432", { kind: "network", address: "192.0.2.7", prefix: 32, port: 5432 }],
  ["10.1.0.0/16", { kind: "network", address: "10.1.0.0", prefix: 16 }],
  ["0.0.0.0/0:53", { kind: "network", address: "0.0.0.0", prefix: 0, port: 53 }],
];
for (const [text, rule] of RULES) {
  Deno.test(`parseNetRule() takes ${text}`, () => assert.deepEqual(parseNetRule(text), rule));
}

const BAD_RULES = [
  "",
  "http://x.org",
  "x.org:0",
  "x.org:99999",
  "10.0.0.0/33",
  "x.org/8",
  "1.2.3",
  "999.1.1.1",
  "*.*.org",
  "a..b",
  "-x.org",
  "--allow",
  "x.org:80:80",
  "[::1]",
  "x y",
  `${"a".repeat(64)}.org`,
  "*:443",
  "\u0000",
];
for (const text of BAD_RULES) {
  Deno.test(`parseNetRule() refuses ${JSON.stringify(text)}`, () => {
    assert.throws(() => parseNetRule(text), BangerError);
  });
}

Deno.test("IPv4 addresses as numbers and back", () => {
  for (const address of ["0.0.0.0", "127.42.253.232", "255.255.255.255", "10.0.2.15"]) {
    assert.equal(ipv4Text(ipv4Number(address)), address);
  }
});
