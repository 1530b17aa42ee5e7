import { createRoute, z } from "@hono/zod-openapi";
import type { Services } from "../services.ts";
import { vmHealthSchema, vmStatsSchema } from "../vm_contract.ts";
import { answers, json, nameParam, newApp } from "./parts.ts";

/** A look at a running VM: its load, its health, its console as it is written. */
export function vmLookRoutes(looks: Services["vmLooks"]) {
  return newApp()
    .openapi(
      createRoute({
        method: "get",
        path: "/v1/vms/{name}/stats",
        request: { params: nameParam },
        responses: answers({ 200: json("What it uses", vmStatsSchema) }),
      }),
      async (c) => c.json(await looks.stats(c.req.valid("param").name), 200),
    )
    .openapi(
      createRoute({
        method: "get",
        path: "/v1/vms/{name}/health",
        request: { params: nameParam },
        responses: answers({ 200: json("Whether it works", vmHealthSchema) }),
      }),
      async (c) => c.json(await looks.health(c.req.valid("param").name), 200),
    )
    .openapi(
      createRoute({
        method: "get",
        path: "/v1/vms/{name}/console/follow",
        request: { params: nameParam },
        responses: answers({
          200: {
            description: "The console's output from now on, until the VM ends",
            content: { "application/octet-stream": { schema: z.string() } },
          },
        }),
      }),
      (c) => c.body(looks.followConsole(c.req.valid("param").name)),
    );
}
