/** Agents that break every rule, with the whole daemon. */
import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { AgentClient } from "../../../lib/guest/client/agent_client.ts";
import { vmPaths } from "../../../lib/store/paths.ts";
import type { AgentEndpoint } from "../../../lib/vmm/driver.ts";
import { filesBelow, findProblems, listVms, lookAtBystanders, victimOf } from "../../faults/checks.ts";
import { BUSY, VICTIM } from "../../faults/names.ts";
import { ensureVictim, prepareWorld, SECRET } from "../../faults/operations.ts";
import type { Malice } from "../../faults/stand_in_agent.ts";
import { host, World } from "../../faults/world.ts";

/** What a guest does once it was taken for healthy, and what a command in it may come to. */
const MALICE: Readonly<Record<Malice, readonly string[]>> = {
  "floods its port": ["done", "guest_unreachable", "connection_failed"],
  "floods its console": ["done"],
  "answers with huge lengths": ["corrupt_data"],
  "answers with escape sequences": ["guest_failed"],
  "lies about itself": ["done"],
  "hangs up in the middle": ["guest_unreachable", "corrupt_data", "connection_failed"],
};
const COMMAND_PATIENCE_MS = 3000;

Deno.test({
  name: "a malicious agent harms nothing outside its VM",
  sanitizeResources: false,
  sanitizeOps: false,
  async fn(t) {
    await using world = await World.open("stand-in");
    await world.start();
    await prepareWorld(world);
    const bystanders = await lookAtBystanders(world);
    const busy = (await listVms(world)).find(({ name }) => name === BUSY)!;
    const before = await world.report();
    for (const [malice, outcomes] of Object.entries(MALICE)) {
      await t.step(`its agent ${malice}`, async () => {
        await Deno.writeTextFile(`${world.home}/malice`, malice);
        await ensureVictim(world, "running");
        await Deno.remove(`${world.home}/malice`);
        const victim = victimOf(await listVms(world))!;
        await new AgentClient(host, victim.agent!).health(COMMAND_PATIENCE_MS).catch(() => {}); // from now on
        const outcome = await outcomeOfCommand(victim.agent!);
        assert.ok(outcomes.includes(outcome.code), `${outcome.code}: ${outcome.text}`);
        // deno-lint-ignore no-control-regex -- what must not be in it
        assert.doesNotMatch(outcome.text, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
        assert.equal((await outcomeOfCommand(busy.agent!)).code, "done", "another VM's agent answers");
        const health = await world.client.v1.vms[":name"].health.$get({ param: { name: VICTIM } }).then(
          (response) => response.json(),
          (thrown) => thrown,
        );
        assert.doesNotMatch(JSON.stringify(health), /\\u00[01]|\\u202e|\u202e/);
        const consoleLog = vmPaths(world.paths, victim.id).consoleLog;
        const kept = [consoleLog, `${consoleLog}.1`].map((path) =>
          Deno.stat(path).then(({ size }) => size, () => 0)
        );
        assert.ok(
          (await Promise.all(kept)).reduce((a, b) => a + b) <= 1.1 * 2 ** 20,
          "the console is bounded",
        );
        await assertSmall(world, victim.id);
        await ensureVictim(world, "absent");
        assert.deepEqual(await findProblems(world, bystanders), []);
      });
    }
    for await (const path of filesBelow(world.home)) {
      if (!/\.(log|log\.1|jsonl)$/.test(path)) continue;
      assert.ok(!(await Deno.readTextFile(path)).includes(SECRET), `${path} tells a secret`);
    }
    const grownMib = ((await world.report()).rss - before.rss) / 2 ** 20;
    assert.ok(grownMib < 64, `the daemon grew by ${grownMib} MiB`);
  },
});

async function outcomeOfCommand(endpoint: AgentEndpoint): Promise<{ code: string; text: string }> {
  let text = "";
  const take = (bytes: Uint8Array) => {
    text = (text + new TextDecoder().decode(bytes)).slice(0, 10_000);
    return Promise.resolve();
  };
  const running = (async () => {
    const session = await new AgentClient(host, endpoint).exec({ argv: ["true"], stdinClosed: true });
    await session.finish({ stdout: take, stderr: take });
    return { code: "done", text };
  })();
  const patience = new AbortController();
  const timeout = host.clock.sleep(COMMAND_PATIENCE_MS, patience.signal).then(
    () => ({ code: "guest_unreachable", text: "no answer within the test's patience" }),
    () => ({ code: "", text: "" }),
  );
  try {
    return await Promise.race([running, timeout]);
  } catch (thrown) {
    if (!(thrown instanceof BangerError)) throw thrown;
    return { code: thrown.code, text: `${thrown.message}${thrown.hint ?? ""}` };
  } finally {
    patience.abort();
    running.catch(() => {}); // it was left alone
  }
}

/** Of the process between the guest and everybody else. */
async function assertSmall(world: World, id: string): Promise<void> {
  const relay = (await world.processes()).find(({ commandLine }) =>
    commandLine.includes(" relay ") && commandLine.includes(id)
  );
  const status = await Deno.readTextFile(`/proc/${relay!.pid}/status`);
  const residentMib = Number(/VmRSS:\s+(\d+)/.exec(status)![1]) / 1024;
  assert.ok(residentMib < 250, `the relay holds ${residentMib} MiB`);
}
