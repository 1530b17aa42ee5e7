import { createRoute, OpenAPIHono, z } from "@hono/zod-openapi";
import { streamSSE } from "hono/streaming";
import { BangerError, type ErrorBody, ERRORS, firstFailure, reasonOf } from "../base/errors.ts";
import type { Log } from "../base/host.ts";
import {
  catalogEntrySchema,
  createVmSchema,
  errorSchema,
  imageSchema,
  importKernelSchema,
  kernelSchema,
  operationSchema,
  prunedSchema,
  pullImageSchema,
  registerImageSchema,
  versionSchema,
  vmEventSchema,
  vmSchema,
} from "./contract.ts";
import type { Services } from "./services.ts";

const MAX_CONSOLE_BYTES = 1024 * 1024;

function json<T extends z.ZodType>(description: string, schema: T) {
  return { description, content: { "application/json": { schema } } } as const;
}

function body<T extends z.ZodType>(schema: T) {
  return { required: true, content: { "application/json": { schema } } } as const;
}

const failure = json("What was wanted, what stood in the way, what to do next", errorSchema);
/**
 * Every route may refuse; the document says so, and the client's types don't, since its fetch throws.
 */
function answers<T extends object>(responses: T): T {
  return { ...responses, default: failure };
}

const started = answers({ 202: json("The operation that does it", operationSchema) });
const nameParam = z.object({ name: z.string().max(256) });
/** References too. */
const imageParam = z.object({ name: z.string().max(1024) });
const idParam = z.object({ id: z.string().max(64) });
const forceBody = z.object({ force: z.boolean().default(false) }).strict();
const nothing = { description: "Done" } as const;

/** All routes. The client's types are inferred from what this returns. */
export function routes(services: Services, log: Log) {
  const { vms, images, kernels, operations, daemon } = services;
  const app = new OpenAPIHono({
    defaultHook: (result) => {
      if (!result.success) throw invalidBody(result.error);
    },
  });
  app.onError((thrown, c) => {
    const error = toBangerError(thrown);
    if (error.code === "internal") {
      log("error", "request failed", { path: c.req.path, thrown: firstFailure(thrown) });
    }
    return c.json(error.toBody() satisfies ErrorBody, ERRORS[error.code].status as 400);
  });
  app.notFound((c) => {
    const error = new BangerError(
      "not_found",
      `Cannot find ${c.req.method} ${c.req.path}`,
      "See GET /v1/openapi.json",
    );
    return c.json(error.toBody(), 404);
  });
  // Without the type hono would hand the parser an empty object instead of the body.
  app.use(async (c, next) => {
    const hasBody = c.req.method === "POST" && c.req.header("content-length") !== "0";
    if (hasBody && !c.req.header("content-type")?.startsWith("application/json")) {
      throw new BangerError(
        "unsupported_media_type",
        "Cannot read the request: its Content-Type is not application/json",
      );
    }
    await next();
  });

  return app
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
        method: "post",
        path: "/v1/shutdown",
        request: { body: body(forceBody) },
        responses: answers({ 204: nothing }),
      }),
      (c) => {
        daemon.shutdown(c.req.valid("json"));
        return c.body(null, 204);
      },
    )
    .openapi(
      createRoute({
        method: "get",
        path: "/v1/vms",
        responses: answers({ 200: json("All VMs", z.array(vmSchema)) }),
      }),
      async (c) => c.json(await vms.list(), 200),
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
        request: { params: nameParam, body: body(forceBody) },
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
    )
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
    )
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
        request: { body: body(z.object({ name: z.string().max(256) }).strict()) },
        responses: started,
      }),
      (c) => c.json(kernels.pull(c.req.valid("json").name), 202),
    )
    .openapi(
      createRoute({
        method: "post",
        path: "/v1/kernels/import",
        request: { body: body(importKernelSchema) },
        responses: started,
      }),
      (c) => {
        const { name, debs } = c.req.valid("json");
        return c.json(kernels.importDebs(name, debs), 202);
      },
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
    )
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
    )
    .doc31("/v1/openapi.json", {
      openapi: "3.1.0",
      info: { title: "bangerd", version: daemon.version().version },
    });
}

export type Api = ReturnType<typeof routes>;

function invalidBody(error: z.ZodError): BangerError {
  const [issue] = error.issues;
  const where = issue?.path.join(".") ?? "";
  const message = issue?.message.startsWith("Cannot ")
    ? issue.message
    : `Cannot use the request: ${where ? `${where}: ` : ""}${issue?.message ?? "it is not valid"}`;
  return new BangerError("invalid_argument", message);
}

function toBangerError(thrown: unknown): BangerError {
  const first = firstFailure(thrown);
  if (first instanceof BangerError) return first;
  // hono's own refusals, such as a body that is no JSON
  if (first instanceof Error && "status" in first && first.status === 400) {
    return new BangerError("invalid_argument", `Cannot use the request: ${first.message}`);
  }
  return new BangerError(
    "internal",
    `Cannot finish the request: ${reasonOf(first)}`,
    "See the daemon's log: banger daemon logs",
  );
}
