/**
 * The daemon of fault rounds: wired as `daemon.ts`, with every effect behind a gate. Plans come as JSON lines on its
 * standard input, the first in `BANGER_FAULT_PLAN`; for `{"report": true}` it prints what passed since. As
 * `daemon relay …` it is the relay, unchanged.
 */
import { takeBuildStamp } from "../../lib/base/build.ts";
import { reasonOf } from "../../lib/base/errors.ts";
import { daemonMain } from "../../lib/daemon/daemon_main.ts";
import { relayMain } from "../../lib/daemon/relay_main.ts";
import { realHost } from "../../lib/sys/host.ts";
import { stderrLog } from "../../lib/sys/log.ts";
import { gateDatabase } from "./faulty_database.ts";
import { faultyHost } from "./faulty_host.ts";
import { Gate, type Plan } from "./gate.ts";

const { build, args } = takeBuildStamp(Deno.args);
const host = realHost({ log: stderrLog() });

async function takePlans(gate: Gate): Promise<void> {
  let pending = "";
  for await (const text of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    const lines = (pending + text).split("\n");
    pending = lines.pop()!;
    for (const line of lines) {
      const order = JSON.parse(line) as { plan?: Plan; report?: true };
      if (order.plan) gate.arm(order.plan);
      const answer = { ...gate.report, ...memory() };
      Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(answer)}\n`));
    }
  }
}

/** For the soak: what it holds after a full collection, where the engine offers one. */
function memory() {
  (globalThis as { gc?: () => void }).gc?.();
  const { rss, heapUsed } = Deno.memoryUsage();
  return { rss, heapUsed, descriptors: [...Deno.readDirSync("/proc/self/fd")].length };
}

async function main(): Promise<void> {
  if (args[0] === "relay") {
    return await relayMain(host, args.slice(1), [Deno.execPath()], Deno.addSignalListener);
  }
  const gate = new Gate(Deno.env.get("HOME")!);
  gate.arm(JSON.parse(Deno.env.get("BANGER_FAULT_PLAN") ?? '{"kind":"none"}') as Plan);
  gateDatabase(gate);
  void takePlans(gate);
  await daemonMain(faultyHost(host, gate), build, {
    pid: Deno.pid,
    uid: Deno.uid() ?? 0,
    executable: Deno.execPath(),
    architecture: Deno.build.arch,
    decompressWorkerUrl: new URL("./decompress_worker.js", import.meta.url).href,
    environment: (name) => Deno.env.get(name),
    onSignal: (signal, handler) => Deno.addSignalListener(signal, handler),
  });
}

try {
  await main();
  Deno.exit(0);
} catch (thrown) {
  host.log("error", "the daemon ended", { thrown, reason: reasonOf(thrown) });
  Deno.exit(1);
}
