import assert from "node:assert/strict";
import { bridgeAddress } from "../../../lib/base/addresses.ts";
import { parseNetRule } from "../../../lib/base/net_rules.ts";
import {
  bridgePlan,
  type BridgeVm,
  describePlan,
  ruleset,
  teardownPlan,
} from "../../../lib/net/bridge/plan.ts";
import { parseRefused } from "../../../lib/net/bridge/refused.ts";

const NOTHING = { hasBridge: false, taps: [], hasTable: false, forwards: false };
const VM: BridgeVm = {
  address: "10.69.0.2",
  mac: "52:54:00:42:00:01",
  tap: "bgr1",
  allow: ["*"].map(parseNetRule),
  pins: [],
};
const WANTED = { vms: [VM], spareTaps: ["bgr2"], forwardedBefore: false };

function commands(steps: readonly { argv: readonly string[] }[]): string[] {
  return steps.map(({ argv }) => argv.join(" "));
}

Deno.test("from nothing: the rules are there before anything is forwarded", () => {
  assert.deepEqual(commands(bridgePlan(NOTHING, WANTED)), [
    "ip link add name banger0 address 52:55:0a:45:00:01 type bridge",
    "nft -f -",
    "ip address replace 10.69.0.1/16 dev banger0",
    "ip link set banger0 up",
    ...["bgr1", "bgr2"].flatMap((tap) => [
      `ip tuntap add dev ${tap} mode tap`,
      `ip link set ${tap} master banger0`,
      `bridge link set dev ${tap} isolated on`,
      `ip link set ${tap} up`,
    ]),
    "sh -c echo 1 > /proc/sys/net/ipv4/ip_forward",
  ]);
});

Deno.test("what is there is not made again; what nobody wants goes", () => {
  const observed = { hasBridge: true, taps: ["bgr1", "bgr2", "bgr9"], hasTable: true, forwards: true };
  assert.deepEqual(commands(bridgePlan(observed, WANTED)), [
    "nft -f -",
    "ip address replace 10.69.0.1/16 dev banger0",
    "ip link set banger0 up",
    "ip link delete bgr9",
  ]);
});

Deno.test("a tap that was deleted under a running VM is made again, and nothing else is done to the links", () => {
  const observed = { hasBridge: true, taps: ["bgr2"], hasTable: true, forwards: true };
  assert.deepEqual(commands(bridgePlan(observed, WANTED)).slice(3), [
    "ip tuntap add dev bgr1 mode tap",
    "ip link set bgr1 master banger0",
    "bridge link set dev bgr1 isolated on",
    "ip link set bgr1 up",
  ]);
});

Deno.test("tables that somebody edited or deleted by hand are written whole, in one transaction", () => {
  for (const hasTable of [true, false]) {
    const observed = { hasBridge: true, taps: ["bgr1", "bgr2"], hasTable, forwards: true };
    const [write] = bridgePlan(observed, WANTED);
    assert.deepEqual(write?.argv, ["nft", "-f", "-"]);
    for (const table of ["inet banger", "bridge banger"]) {
      // Made, so that deleting it never fails; then deleted, with whatever is in it.
      assert.match(
        write?.stdin ?? "",
        new RegExp(`^table ${table} {}\ndelete table ${table}\ntable ${table} {$`, "m"),
      );
    }
  }
});

Deno.test("a teardown leaves nothing of ours, and the host's forwarding as it was", () => {
  const observed = { hasBridge: true, taps: ["bgr1"], hasTable: true, forwards: true };
  assert.deepEqual(commands(teardownPlan(observed, false)), [
    "sh -c echo 0 > /proc/sys/net/ipv4/ip_forward",
    "ip link delete bgr1",
    "ip link delete banger0",
    "nft -f -",
  ]);
  assert.ok(!commands(teardownPlan(observed, true)).some((line) => line.includes("ip_forward")));
  assert.deepEqual(teardownPlan({ ...NOTHING, forwards: true }, true), []);
});

Deno.test("the rules name only what is ours, and open the host's forwarding for nobody else", () => {
  const text = ruleset(WANTED);
  assert.deepEqual(
    [...text.matchAll(/^table (\S+) (\S+) \{$/gm)].map(([, family, name]) => `${family} ${name}`),
    [
      "inet banger",
      "bridge banger",
    ],
  );
  assert.match(text, /iifname != "banger0" oifname != "banger0" drop/);
  assert.doesNotMatch(
    ruleset({ ...WANTED, forwardedBefore: true }),
    /iifname != "banger0" oifname != "banger0" drop/,
  );
  assert.doesNotMatch(text, /flush ruleset/);
});

Deno.test("a VM's chain: its exact addresses, then what is protected, then the rest", () => {
  const allow = ["10.1.2.3:5432", "192.0.2.0/24:80", "packages.example.net"].map(parseNetRule);
  const chain =
    /chain vm_10_69_0_2 \{([\s\S]*?)\}\n/.exec(ruleset({ ...WANTED, vms: [{ ...VM, allow }] }))![0];
  const order = ["10.1.2.3", "@protected", "192.0.2.0/24", "@pinned accept", "goto refuse\n  }"].map((part) =>
    chain.indexOf(part)
  );
  assert.ok(order.every((at, index) => at > (order[index - 1] ?? -1)), chain);
  assert.match(
    ruleset({ ...WANTED, vms: [{ ...VM, pins: [{ address: "192.0.2.9", port: 80 }] }] }),
    /elements = \{ 10\.69\.0\.2 \. 192\.0\.2\.9 \. 80 \}/,
  );
});

Deno.test("65,000 VMs have 65,000 addresses, none of them the gateway's or the network's own", () => {
  const all = new Set(Array.from({ length: 65_000 }, (_, index) => bridgeAddress(index + 1)));
  assert.equal(all.size, 65_000);
  assert.ok(
    !all.has("10.69.0.1") && !all.has("10.69.255.255") && [...all].every((one) => one.startsWith("10.69.")),
  );
});

Deno.test("a plan is shown as a shell takes it", () => {
  const text = describePlan(bridgePlan(NOTHING, WANTED));
  assert.match(text, /^nft -f - <<'END'\ntable inet banger/m);
  assert.match(text, /^sh -c 'echo 1 > \/proc\/sys\/net\/ipv4\/ip_forward'$/m);
});

Deno.test("parseRefused() takes a guest's own out of nft's set", () => {
  const elem = (source: string, extra: object = {}) => ({
    elem: {
      val: { concat: [source, "192.0.2.2", "tcp", 80] },
      expires: 3590,
      counter: { packets: 3 },
      ...extra,
    },
  });
  const json = JSON.stringify({
    nftables: [{}, { set: { elem: [elem("10.69.0.2"), elem("10.69.0.3"), "x", {}] } }],
  });
  assert.deepEqual(parseRefused(json, "10.69.0.2", 100_000), [{
    protocol: "tcp",
    target: "192.0.2.2",
    port: 80,
    why: "not allowed by the VM's network policy",
    count: 3,
    lastAtMs: 90_000,
  }]);
  assert.deepEqual(parseRefused('{"nftables":[]}', "10.69.0.2", 0), []);
});
