import type { OperationView } from "../../api/contract.ts";
import { formatDuration } from "../../base/units.ts";
import { type Command, flag, requiredArgument } from "../command.ts";
import { print, printJson, table } from "../output.ts";
import { QUIET_OPTION, watchOperation } from "../progress.ts";

const OPERATION_ARGUMENT = {
  name: "operation",
  summary: "its id, or the beginning of it",
  completes: "operation",
} as const;
/** Enough to tell those apart that a daemon remembers. */
const SHORT_ID = 8;

const list: Command = {
  path: ["operation", "list"],
  aliases: [["operation", "ls"]],
  summary: "list what the daemon is working on",
  options: [
    { flags: "-a, --all", summary: "what has ended, too, as long as the daemon remembers it" },
    { flags: "--json", summary: "as JSON" },
  ],
  async run({ daemon, terminal, clock }, input) {
    // Where no daemon runs, nothing is under way.
    const client = await daemon.connectIfRunning();
    const all = client ? await (await client.v1.operations.$get()).json() : [];
    const shown = flag(input, "all") ? all : all.filter(({ state }) => state === "running");
    if (flag(input, "json")) await printJson(terminal, shown);
    else await print(terminal, operationTable(shown, clock.now()));
    return 0;
  },
};

/** Exported for tests. */
export function operationTable(operations: readonly OperationView[], nowMs: number): string {
  return table(
    ["ID", "WHAT", "STATE", "SINCE", "STAGE OR RESULT"],
    operations.map(({ id, kind, state, startedAt, stage, result, error }) => [
      id.slice(0, SHORT_ID),
      kind,
      state,
      formatDuration(Math.max(0, nowMs - Date.parse(startedAt))),
      state === "running" ? stage ?? "" : result ?? error?.message ?? "",
    ]),
  );
}

const follow: Command = {
  path: ["operation", "follow"],
  summary: "show an operation's progress from its beginning to its end",
  details:
    "Shows an operation that another command began; any number may follow one. Ctrl-C leaves it, and the\n" +
    "operation goes on. What it made is printed; its failure is this command's.",
  arguments: [OPERATION_ARGUMENT],
  options: [QUIET_OPTION],
  async run(context, input) {
    const client = await context.daemon.connect();
    const id = requiredArgument(input, 0);
    const operation = await (await client.v1.operations[":id"].$get({ param: { id } })).json();
    const result = await watchOperation(context, client, operation, { quiet: flag(input, "quiet") });
    await print(context.terminal, result);
    return 0;
  },
};

const cancel: Command = {
  path: ["operation", "cancel"],
  summary: "end an operation; what it made so far is undone",
  arguments: [OPERATION_ARGUMENT],
  options: [QUIET_OPTION],
  async run(context, input) {
    const client = await context.daemon.connect();
    const id = requiredArgument(input, 0);
    const operation = await (await client.v1.operations[":id"].cancel.$post({ param: { id } })).json();
    await watchOperation(context, client, operation, { quiet: flag(input, "quiet"), isCancelled: true });
    return 0;
  },
};

export const OPERATION_COMMANDS: readonly Command[] = [list, follow, cancel];
