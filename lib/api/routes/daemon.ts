import { createRoute } from "@hono/zod-openapi";
import { versionSchema, vmDefaultsSchema } from "../contract.ts";
import type { Services } from "../services.ts";
import { answers, body, forceBody, json, newApp, nothing } from "./parts.ts";

/** The daemon itself: its version, its end. */
export function daemonRoutes(daemon: Services["daemon"]) {
  return newApp()
    .openapi(
      createRoute({
        method: "get",
        path: "/v1/version",
        responses: answers({ 200: json("The daemon", versionSchema) }),
      }),
      (c) => c.json(daemon.version(), 200),
    )
    .openapi(
      createRoute({
        method: "get",
        path: "/v1/defaults",
        responses: answers({ 200: json("What a new VM gets that is not said", vmDefaultsSchema) }),
      }),
      async (c) => c.json(await daemon.defaults(), 200),
    )
    .openapi(
      createRoute({
        method: "post",
        path: "/v1/shutdown",
        request: { body: body(forceBody) },
        responses: answers({ 204: nothing }),
      }),
      (c) => {
        daemon.shutdown(c.req.valid("json"));
        return c.body(null, 204);
      },
    );
}
