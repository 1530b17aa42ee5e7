import assert from "node:assert/strict";
import { ipv4Number, parseNetRule } from "../../../lib/base/net_rules.ts";
import { EgressPolicy, RefusalLog } from "../../../lib/net/policy.ts";
import { nameServersOf } from "../../../lib/net/user/resolver.ts";

class ManualClock {
  nowMs = 0;
  monotonicMs = () => this.nowMs;
}

function policy(rules: readonly string[], clock = new ManualClock()) {
  return new EgressPolicy(clock, () => ["198.51.100.5", "fe80::1"], rules.map(parseNetRule));
}

function allows(of: EgressPolicy, address: string, port = 443): boolean {
  return of.decide(ipv4Number(address), port).allowed;
}

const OPEN: readonly (readonly [string, boolean])[] = [
  ["203.0.113.9", true],
  ["192.168.1.10", true],
  ["10.0.2.2", false],
  ["10.0.2.200", false],
  ["127.0.0.1", false],
  ["127.42.0.2", false],
  ["0.0.0.0", false],
  ["169.254.169.254", false],
  ["100.100.100.200", false],
  ["168.63.129.16", false],
  ["192.0.0.192", false],
  ["224.0.0.251", false],
  ["255.255.255.255", false],
  ["198.51.100.5", false],
];
for (const [address, isAllowed] of OPEN) {
  Deno.test(`a VM that may reach everything ${isAllowed ? "reaches" : "does not reach"} ${address}`, () => {
    assert.equal(allows(policy(["*"]), address), isAllowed);
    assert.equal(allows(policy([]), address), false, "and nothing with no rule");
  });
}

Deno.test("an address that is allowed by itself is, whatever it is; a network of them is not enough", () => {
  assert.ok(allows(policy(["169.254.169.254:80"]), "169.254.169.254", 80));
  assert.ok(!allows(policy(["169.254.169.254:80"]), "169.254.169.254", 443));
  assert.ok(!allows(policy(["169.254.0.0/16", "0.0.0.0/0"]), "169.254.169.254"));
  assert.ok(allows(policy(["host.banger.internal:5432"]), "10.0.2.2", 5432));
  assert.ok(!allows(policy(["host.banger.internal:5432"]), "10.0.2.2", 22));
  assert.ok(allows(policy(["203.0.113.0/24:53"]), "203.0.113.77", 53));
  assert.ok(!allows(policy(["203.0.113.0/24:53"]), "203.0.114.77", 53));
});

Deno.test("a name is what it was resolved to for the guest, and nothing else", () => {
  const clock = new ManualClock();
  const of = policy(["packages.example.net:80", "*.example.org"], clock);
  assert.ok(of.mayResolve("packages.example.net") && of.mayResolve("a.b.example.org"));
  assert.ok(
    !of.mayResolve("example.org") && !of.mayResolve("evil-packages.example.net") && !of.mayResolve(""),
  );
  assert.ok(!allows(of, "203.0.113.1", 80));
  of.pin("packages.example.net", ipv4Number("203.0.113.1"), 30);
  assert.ok(allows(of, "203.0.113.1", 80));
  assert.ok(!allows(of, "203.0.113.1", 443), "another port");
  assert.ok(!allows(of, "203.0.113.2", 80), "another address");
  clock.nowMs += 61_000;
  assert.ok(!allows(of, "203.0.113.1", 80), "too old");
});

Deno.test("a name that leads to what is protected stays a name", () => {
  const of = policy(["rebind.example.org", "*"]);
  for (const address of ["127.0.0.1", "10.0.2.2", "169.254.169.254", "198.51.100.5"]) {
    of.pin("rebind.example.org", ipv4Number(address), 60);
    assert.ok(!allows(of, address), address);
  }
});

Deno.test("a flood of answers and refusals takes bounded memory", () => {
  const of = policy(["*.example.org"]);
  for (let index = 0; index < 10_000; index++) of.pin(`n${index}.example.org`, 0xcb00_0000 + index, 60);
  assert.ok(!allows(of, "203.0.0.1"), "the oldest are gone");
  const log = new RefusalLog(() => 1);
  for (let index = 0; index < 1000; index++) {
    log.add({ protocol: "dns", target: `n${index}.org`, why: "w" });
  }
  log.add({ protocol: "dns", target: "n900.org", why: "w" });
  assert.equal(log.list().length, 200);
  assert.equal(log.list()[0]?.target, "n900.org");
  assert.equal(log.list()[0]?.count, 2);
});

Deno.test("nameServersOf() takes three of IPv4, else this host", () => {
  assert.deepEqual(
    nameServersOf("# x\nnameserver 192.0.2.1\nnameserver ::1\nsearch a\nnameserver 192.0.2.2\n"),
    [
      "192.0.2.1",
      "192.0.2.2",
    ],
  );
  assert.deepEqual(nameServersOf(""), ["127.0.0.1"]);
});
