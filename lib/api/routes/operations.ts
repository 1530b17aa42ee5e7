import { createRoute, z } from "@hono/zod-openapi";
import { streamSSE } from "hono/streaming";
import { operationSchema } from "../contract.ts";
import type { Services } from "../services.ts";
import { answers, idParam, json, newApp, started } from "./parts.ts";

/** Long work: looked at, followed, cancelled. */
export function operationRoutes(operations: Services["operations"]) {
  return newApp()
    .openapi(
      createRoute({
        method: "get",
        path: "/v1/operations",
        responses: answers({ 200: json("Recent operations", z.array(operationSchema)) }),
      }),
      (c) => c.json(operations.list(), 200),
    )
    .openapi(
      createRoute({
        method: "get",
        path: "/v1/operations/{id}",
        request: { params: idParam },
        responses: answers({ 200: json("The operation", operationSchema) }),
      }),
      (c) => c.json(operations.get(c.req.valid("param").id), 200),
    )
    .openapi(
      createRoute({
        method: "post",
        path: "/v1/operations/{id}/cancel",
        request: { params: idParam },
        responses: started,
      }),
      (c) => c.json(operations.cancel(c.req.valid("param").id), 202),
    )
    .openapi(
      createRoute({
        method: "get",
        path: "/v1/operations/{id}/events",
        request: { params: idParam },
        responses: answers({
          200: {
            description: "Its events, past ones first, until it is finished",
            content: { "text/event-stream": { schema: z.string() } },
          },
        }),
      }),
      (c) => {
        const events = operations.events(c.req.valid("param").id);
        return streamSSE(c, async (stream) => {
          for await (const event of events) {
            if (stream.aborted) break;
            await stream.writeSSE({ data: JSON.stringify(event) });
          }
        });
      },
    );
}
