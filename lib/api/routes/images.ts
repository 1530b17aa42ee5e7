import { createRoute, z } from "@hono/zod-openapi";
import {
  catalogEntrySchema,
  imageSchema,
  prunedSchema,
  pullImageSchema,
  registerImageSchema,
} from "../contract.ts";
import type { Services } from "../services.ts";
import { answers, body, imageParam, json, newApp, nothing, started } from "./parts.ts";

/** Images and the catalog that some come from. */
export function imageRoutes(images: Services["images"]) {
  return newApp()
    .openapi(
      createRoute({
        method: "get",
        path: "/v1/images",
        responses: answers({ 200: json("All images", z.array(imageSchema)) }),
      }),
      async (c) => c.json(await images.list(), 200),
    )
    .openapi(
      createRoute({
        method: "get",
        path: "/v1/images/{name}",
        request: { params: imageParam },
        responses: answers({ 200: json("The image", imageSchema) }),
      }),
      async (c) => c.json(await images.get(c.req.valid("param").name), 200),
    )
    .openapi(
      createRoute({
        method: "post",
        path: "/v1/images/pull",
        request: { body: body(pullImageSchema) },
        responses: started,
      }),
      (c) => c.json(images.pull(c.req.valid("json")), 202),
    )
    .openapi(
      createRoute({
        method: "post",
        path: "/v1/images/register",
        request: { body: body(registerImageSchema) },
        responses: started,
      }),
      (c) => c.json(images.register(c.req.valid("json")), 202),
    )
    .openapi(
      createRoute({
        method: "post",
        path: "/v1/images/prune",
        request: { body: body(z.object({ all: z.boolean().default(false) }).strict()) },
        responses: answers({ 200: json("What was removed", prunedSchema) }),
      }),
      async (c) => c.json(await images.prune(c.req.valid("json")), 200),
    )
    .openapi(
      createRoute({
        method: "post",
        path: "/v1/images/{name}/promote",
        request: { params: imageParam },
        responses: started,
      }),
      (c) => c.json(images.promote(c.req.valid("param").name), 202),
    )
    .openapi(
      createRoute({
        method: "post",
        path: "/v1/images/{name}/verify",
        request: { params: imageParam },
        responses: started,
      }),
      (c) => c.json(images.verify(c.req.valid("param").name), 202),
    )
    .openapi(
      createRoute({
        method: "get",
        path: "/v1/catalog",
        responses: answers({ 200: json("What can be pulled by its name", z.array(catalogEntrySchema)) }),
      }),
      (c) => c.json(images.available(), 200),
    )
    .openapi(
      createRoute({
        method: "delete",
        path: "/v1/images/{name}",
        request: { params: imageParam },
        responses: answers({ 204: nothing }),
      }),
      async (c) => {
        await images.remove(c.req.valid("param").name);
        return c.body(null, 204);
      },
    );
}
