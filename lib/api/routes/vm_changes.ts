import { createRoute, z } from "@hono/zod-openapi";
import { vmSchema } from "../contract.ts";
import type { Services } from "../services.ts";
import {
  changeImageSchema,
  plannedChangeSchema,
  prunedVmSchema,
  pruneVmsSchema,
  restoreVmSchema,
  setVmSchema,
} from "../vm_contract.ts";
import { answers, body, forceBody, json, nameParam, newApp, started } from "./parts.ts";

/** Changes of VMs that are there, and the trash. */
export function vmChangeRoutes(changes: Services["vmChanges"]) {
  return newApp()
    .openapi(
      createRoute({
        method: "post",
        path: "/v1/vms/{name}/restart",
        request: { params: nameParam, body: body(forceBody) },
        responses: started,
      }),
      (c) => c.json(changes.restart(c.req.valid("param").name, c.req.valid("json")), 202),
    )
    .openapi(
      createRoute({
        method: "post",
        path: "/v1/vms/{name}/kill",
        request: { params: nameParam },
        responses: started,
      }),
      (c) => c.json(changes.kill(c.req.valid("param").name), 202),
    )
    .openapi(
      createRoute({
        method: "post",
        path: "/v1/vms/{name}/plan",
        request: { params: nameParam, body: body(setVmSchema) },
        responses: answers({ 200: json("What setting these would change", z.array(plannedChangeSchema)) }),
      }),
      async (c) => c.json(await changes.plan(c.req.valid("param").name, c.req.valid("json")), 200),
    )
    .openapi(
      createRoute({
        method: "post",
        path: "/v1/vms/{name}/set",
        request: { params: nameParam, body: body(setVmSchema) },
        responses: started,
      }),
      (c) => c.json(changes.set(c.req.valid("param").name, c.req.valid("json")), 202),
    )
    .openapi(
      createRoute({
        method: "post",
        path: "/v1/vms/{name}/image",
        request: { params: nameParam, body: body(changeImageSchema) },
        responses: started,
      }),
      (c) => c.json(changes.changeImage(c.req.valid("param").name, c.req.valid("json")), 202),
    )
    .openapi(
      createRoute({
        method: "post",
        path: "/v1/vms/{name}/restore",
        request: { params: nameParam, body: body(restoreVmSchema) },
        responses: answers({ 200: json("The VM, stopped", vmSchema) }),
      }),
      async (c) => c.json(await changes.restore(c.req.valid("param").name, c.req.valid("json").name), 200),
    )
    .openapi(
      createRoute({
        method: "post",
        path: "/v1/vms/prune",
        request: { body: body(pruneVmsSchema) },
        responses: answers({ 200: json("What was removed for good, or would be", z.array(prunedVmSchema)) }),
      }),
      async (c) => c.json(await changes.prune(c.req.valid("json")), 200),
    );
}
