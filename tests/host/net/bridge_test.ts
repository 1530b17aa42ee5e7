import assert from "node:assert/strict";
import { parseNetRule } from "../../../lib/base/net_rules.ts";
import { BridgeNetwork } from "../../../lib/net/bridge/bridge_network.ts";
import { namespaceHost } from "./namespace_host.ts";
import { whyNoNamespaces } from "./tap_guest.ts";

const why = await whyNoNamespaces();
if (why) console.log(`skipped: the bridge in a namespace: ${why}`);

const GUEST = { id: "a", address: "10.69.0.2", mac: "52:54:00:42:00:01", allow: [parseNetRule("*")] };
const OTHER = { ...GUEST, id: "b", address: "10.69.0.3", mac: "52:54:00:42:00:02" };

Deno.test({
  name: "the bridge comes and goes without a trace, whoever is killed in between, and twice is once",
  ignore: why !== undefined,
  async fn() {
    await using space = await namespaceHost();
    const directory = await Deno.makeTempDir({ prefix: "banger-bridge-" });
    const statePath = `${directory}/bridge.json`;
    try {
      const before = await space.text();
      const first = new BridgeNetwork(space.host, statePath);
      await first.recover();
      assert.equal(await space.text(), before, "without guests nothing is done");
      const tap = await first.attach(GUEST);
      const once = await space.text();
      assert.equal(await first.attach(GUEST), tap);
      assert.equal(await space.text(), once, "the same again");
      assert.match(once, /banger0.*\n/);
      assert.notEqual(await first.attach(OTHER), tap);
      await first.pin("a", [{ address: "192.0.2.9", port: 80 }, { address: "192.0.2.10" }]);
      await first.pin("a", [{ address: "192.0.2.9", port: 80 }]);
      assert.match(await space.text(), /10\.69\.0\.2 \. 192\.0\.2\.9 \. 80/);
      assert.deepEqual(await first.refusals("10.69.0.2"), []);

      // Another banger of this host, with a state of its own.
      const stranger = new BridgeNetwork(space.host, `${directory}/other.json`);
      await assert.rejects(stranger.attach(GUEST), /not this banger's/);

      // As after kill -9: the next daemon knows one guest, and that the other is gone.
      const second = new BridgeNetwork(space.host, statePath);
      second.adopt(GUEST, tap);
      await second.recover();
      assert.doesNotMatch(await space.text(), /10\.69\.0\.3/);
      await second.shutDown();
      assert.match(await space.text(), /banger0/, "a guest still runs");
      await second.detach("a");
      await second.shutDown();
      assert.equal(await space.text(), before);

      // And where all was lost but the file that says what to put back.
      const third = new BridgeNetwork(space.host, statePath);
      await third.attach(GUEST);
      await new BridgeNetwork(space.host, statePath).recover();
      assert.equal(await space.text(), before);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  },
});
