import { hc } from "hono/client";
import { BangerError } from "../base/errors.ts";
import type { OperationEvent, OperationView } from "./contract.ts";
import type { Api } from "./routes.ts";

export type ApiClient = ReturnType<typeof apiClient>;

/**
 * A typed client of the daemon. Callers see success types only: every other answer is thrown.
 *
 * @param send reaches the daemon, whatever the URL's host
 */
export function apiClient(send: (request: string, init: RequestInit) => Promise<Response>) {
  return hc<Api>("http://banger", {
    async fetch(input: RequestInfo | URL, init?: RequestInit) {
      const response = await send(String(input), init ?? {});
      if (response.ok) return response;
      const body: unknown = await response.json().catch(() => undefined);
      throw BangerError.fromBody(body, `Cannot use the daemon's answer: status ${response.status}`);
    },
  });
}

/**
 * Follows an operation to its end.
 *
 * @param onEvent told of each event, past ones included
 * @throws {BangerError} the operation's own failure; `daemon_unavailable` if the daemon ends before
 */
export async function followOperation(
  client: ApiClient,
  operation: OperationView,
  onEvent: (event: OperationEvent) => void,
): Promise<OperationView> {
  const response = await client.v1.operations[":id"].events.$get({ param: { id: operation.id } });
  for await (const event of serverSentEvents(response.body)) {
    onEvent(event);
    if (event.type !== "finished") continue;
    const { error } = event.operation;
    if (error) throw new BangerError(error.code, error.message, error.hint);
    return event.operation;
  }
  throw new BangerError(
    "daemon_unavailable",
    `Cannot follow ${operation.kind}: the daemon ended before it did`,
    "What was half-made is undone when the daemon starts again: run the command once more",
  );
}

async function* serverSentEvents(body: ReadableStream<Uint8Array> | null): AsyncGenerator<OperationEvent> {
  if (!body) return;
  const decoder = new TextDecoder();
  let pending = "";
  try {
    for await (const chunk of body) {
      pending += decoder.decode(chunk, { stream: true });
      const lines = pending.split("\n");
      pending = lines.pop() ?? "";
      for (const line of lines) {
        if (line.startsWith("data: ")) yield JSON.parse(line.slice(6)) as OperationEvent;
      }
    }
  } catch (thrown) {
    if (thrown instanceof SyntaxError || thrown instanceof BangerError) throw thrown;
    return; // the connection broke: the caller says so
  }
}
