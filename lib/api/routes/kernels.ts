import { createRoute, z } from "@hono/zod-openapi";
import { importKernelSchema, kernelCatalogEntrySchema, kernelSchema, pullKernelSchema } from "../contract.ts";
import type { Services } from "../services.ts";
import { answers, body, json, nameParam, newApp, nothing, started } from "./parts.ts";

/** Kernels. */
export function kernelRoutes(kernels: Services["kernels"]) {
  return newApp()
    .openapi(
      createRoute({
        method: "get",
        path: "/v1/kernels",
        responses: answers({ 200: json("All kernels", z.array(kernelSchema)) }),
      }),
      async (c) => c.json(await kernels.list(), 200),
    )
    .openapi(
      createRoute({
        method: "get",
        path: "/v1/kernel-catalog",
        responses: answers({
          200: json("Kernels that can be pulled by name", z.array(kernelCatalogEntrySchema)),
        }),
      }),
      async (c) => c.json(await kernels.available(), 200),
    )
    .openapi(
      createRoute({
        method: "get",
        path: "/v1/kernels/{name}",
        request: { params: nameParam },
        responses: answers({ 200: json("The kernel", kernelSchema) }),
      }),
      async (c) => c.json(await kernels.get(c.req.valid("param").name), 200),
    )
    .openapi(
      createRoute({
        method: "post",
        path: "/v1/kernels/pull",
        request: { body: body(pullKernelSchema) },
        responses: started,
      }),
      (c) => {
        const { name, force } = c.req.valid("json");
        return c.json(kernels.pull(name, { force }), 202);
      },
    )
    .openapi(
      createRoute({
        method: "post",
        path: "/v1/kernels/import",
        request: { body: body(importKernelSchema) },
        responses: started,
      }),
      (c) => c.json(kernels.import(c.req.valid("json")), 202),
    )
    .openapi(
      createRoute({
        method: "delete",
        path: "/v1/kernels/{name}",
        request: { params: nameParam },
        responses: answers({ 204: nothing }),
      }),
      async (c) => {
        await kernels.remove(c.req.valid("param").name);
        return c.body(null, 204);
      },
    );
}
