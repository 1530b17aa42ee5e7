import assert from "node:assert/strict";
import { linkCommands } from "../../../lib/net/dns/host_setup.ts";
import { namespaceHost } from "./namespace_host.ts";
import { whyNoNamespaces } from "./tap_guest.ts";

const why = await whyNoNamespaces();
if (why) console.log(`skipped: the link for systemd-resolved in a namespace: ${why}`);

const FACTS = { address: "127.0.0.1", port: 42069, uid: 0 };

interface Holder extends AsyncDisposable {
  /** What it said first. */
  readonly said: string;
}

/** @returns once it has looked for the link; disposing kills it with SIGKILL */
async function holder(namespace: string): Promise<Holder> {
  const script = new URL("link_holder.ts", import.meta.url).pathname;
  const child = new Deno.Command("ip", {
    args: ["netns", "exec", namespace, Deno.execPath(), "run", "-A", "--no-check", "--unstable-net", script],
    stdout: "piped",
  }).spawn();
  const lines = child.stdout.getReader();
  const said = new TextDecoder().decode((await lines.read()).value).trim();
  return {
    said,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.status;
      await lines.cancel();
    },
  };
}

Deno.test({
  name: "the link that leads to the name server is up while a daemon holds it, whatever ends that",
  ignore: why !== undefined,
  async fn() {
    await using space = await namespaceHost();
    const run = async (argv: readonly string[]) =>
      await space.host.processes.run({ program: argv[0]!, args: argv.slice(1) });
    const before = await space.text();
    // Those for systemd-resolved itself need it to run.
    for (const argv of linkCommands(FACTS).filter(([program]) => program === "ip")) {
      const { code, stderr } = await run(argv);
      assert.equal(code, 0, `${argv.join(" ")}: ${stderr}`);
    }
    const flags = async () => (await run(["ip", "-br", "link", "show", "banger-dns"])).stdout;
    assert.match(await flags(), /NO-CARRIER/);
    {
      await using first = await holder(space.name);
      assert.equal(first.said, "no problem");
      assert.match(await flags(), /LOWER_UP/);
      await using second = await holder(space.name);
      assert.match(second.said, /another process holds it/);
    }
    // The kernel ends what a killed process had a little after it.
    while (!/NO-CARRIER/.test(await flags())) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal((await run(["ip", "link", "delete", "banger-dns"])).code, 0);
    assert.equal(await space.text(), before);
  },
});
