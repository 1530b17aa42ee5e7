import { BangerError, type ErrorBody, ERRORS, firstFailure, reasonOf } from "../base/errors.ts";
import type { Log } from "../base/host.ts";
import { daemonRoutes } from "./routes/daemon.ts";
import { imageRoutes } from "./routes/images.ts";
import { kernelRoutes } from "./routes/kernels.ts";
import { networkRoutes } from "./routes/network.ts";
import { operationRoutes } from "./routes/operations.ts";
import { newApp } from "./routes/parts.ts";
import { vmChangeRoutes } from "./routes/vm_changes.ts";
import { vmLookRoutes } from "./routes/vm_looks.ts";
import { vmRoutes } from "./routes/vms.ts";
import type { Services } from "./services.ts";

/** All routes. The client's types are inferred from what this returns. */
export function routes(services: Services, log: Log) {
  const app = newApp();
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
    .route("/", daemonRoutes(services.daemon))
    .route("/", vmRoutes(services.vms))
    .route("/", vmChangeRoutes(services.vmChanges))
    .route("/", vmLookRoutes(services.vmLooks))
    .route("/", imageRoutes(services.images))
    .route("/", kernelRoutes(services.kernels))
    .route("/", networkRoutes(services.network))
    .route("/", operationRoutes(services.operations))
    .doc31("/v1/openapi.json", {
      openapi: "3.1.0",
      info: { title: "bangerd", version: services.daemon.version().version },
    });
}

export type Api = ReturnType<typeof routes>;

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
