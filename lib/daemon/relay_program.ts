/**
 * `bangerd relay`, the small process beside one machine, and `bangerd offer-frames`, by which it is handed the network
 * card of a machine in a namespace of its own. A bundle of its own, which shares no file with the daemon's: each machine
 * waits for its relay, and would read with the shared parts what only the daemon needs of them.
 */
import { runProgram } from "../sys/program.ts";
import { relayMain } from "./relay_main.ts";

await runProgram(async ({ host, args, executable, onSignal }) => {
  const [role, ...rest] = args;
  if (role === "offer-frames") return await host.network.offerFrames(rest[0] ?? "", rest[1] ?? "");
  await relayMain(host, rest, [executable], onSignal);
});
