import { createRoute, z } from "@hono/zod-openapi";
import { createVmSchema, vmEventSchema, vmSchema } from "../contract.ts";
import { removeVmSchema, vmScopeSchema } from "../vm_contract.ts";
import type { Services } from "../services.ts";
import { answers, body, forceBody, json, nameParam, newApp, started } from "./parts.ts";

const MAX_CONSOLE_BYTES = 1024 * 1024;

/** VMs: what there is, and what is done to one. */
export function vmRoutes(vms: Services["vms"]) {
  return newApp()
    .openapi(
      createRoute({
        method: "get",
        path: "/v1/vms",
        request: { query: z.object({ scope: vmScopeSchema.optional() }) },
        responses: answers({
          200: json("VMs, all but those in the trash where no scope is said", z.array(vmSchema)),
        }),
      }),
      async (c) => c.json(await vms.list(c.req.valid("query").scope ?? "all"), 200),
    )
    .openapi(
      createRoute({
        method: "post",
        path: "/v1/vms",
        request: { body: body(createVmSchema) },
        responses: started,
      }),
      (c) => c.json(vms.create(c.req.valid("json")), 202),
    )
    .openapi(
      createRoute({
        method: "get",
        path: "/v1/vms/{name}",
        request: { params: nameParam },
        responses: answers({ 200: json("The VM", vmSchema) }),
      }),
      async (c) => c.json(await vms.get(c.req.valid("param").name), 200),
    )
    .openapi(
      createRoute({
        method: "post",
        path: "/v1/vms/{name}/start",
        request: { params: nameParam },
        responses: started,
      }),
      (c) => c.json(vms.start(c.req.valid("param").name), 202),
    )
    .openapi(
      createRoute({
        method: "post",
        path: "/v1/vms/{name}/stop",
        request: { params: nameParam, body: body(forceBody) },
        responses: started,
      }),
      (c) => c.json(vms.stop(c.req.valid("param").name, c.req.valid("json")), 202),
    )
    .openapi(
      createRoute({
        method: "post",
        path: "/v1/vms/{name}/remove",
        request: { params: nameParam, body: body(removeVmSchema) },
        responses: started,
      }),
      (c) => c.json(vms.remove(c.req.valid("param").name, c.req.valid("json")), 202),
    )
    .openapi(
      createRoute({
        method: "get",
        path: "/v1/vms/{name}/console",
        request: { params: nameParam },
        responses: answers({
          200: json("The console's last output", z.object({ text: z.string() })),
        }),
      }),
      async (c) =>
        c.json({ text: await vms.console(c.req.valid("param").name, { maxBytes: MAX_CONSOLE_BYTES }) }, 200),
    )
    .openapi(
      createRoute({
        method: "get",
        path: "/v1/vms/{name}/events",
        request: { params: nameParam },
        responses: answers({ 200: json("What happened to it", z.array(vmEventSchema)) }),
      }),
      async (c) => c.json(await vms.events(c.req.valid("param").name), 200),
    );
}
