import type { ApiClient } from "../api/client.ts";
import type { OperationView } from "../api/contract.ts";
import { BangerError, firstFailure } from "../base/errors.ts";
import { type Context, type Input } from "./command.ts";
import { say, visibleLines } from "./output.ts";
import { carryOut } from "./progress.ts";

/** The argument of commands that do the same to each of several VMs. */
export const VM_ARGUMENTS = {
  name: "vm",
  summary: "its name; more than one may be given",
  completes: "vm",
  repeated: true,
} as const;

/**
 * Does something to each VM that was named, one after the other. One that fails does not keep the others from it.
 *
 * @throws the last failure; those before it have been said
 */
export async function eachVm(
  { terminal }: Pick<Context, "terminal">,
  input: Input,
  act: (name: string) => Promise<void>,
): Promise<void> {
  const failures: unknown[] = [];
  for (const name of new Set(input.arguments)) {
    if (name === undefined) continue;
    try {
      await act(name);
    } catch (thrown) {
      failures.push(thrown);
      if (thrown instanceof BangerError && thrown.code === "cancelled") break;
    }
  }
  const last = failures.pop();
  for (const failure of failures) {
    const first = firstFailure(failure);
    if (!(first instanceof BangerError)) throw failure;
    await say(terminal, `banger: ${visibleLines(first.message)}`);
    if (first.hint) await say(terminal, visibleLines(first.hint).replaceAll(/^/gm, "  "));
  }
  if (last !== undefined) throw last;
}

/**
 * Begins an operation for each VM that was named and shows it to its end, one after the other.
 *
 * @returns the exit code
 * @throws as `eachVm`
 */
export async function carryOutEach(
  context: Context,
  input: Input,
  begin: (client: ApiClient, name: string) => Promise<{ json(): Promise<OperationView> }>,
): Promise<number> {
  const client = await context.daemon.connect();
  await eachVm(context, input, async (name) => {
    await carryOut({ context, client, input }, begin(client, name));
  });
  return 0;
}
