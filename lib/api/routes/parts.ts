import { OpenAPIHono, z } from "@hono/zod-openapi";
import { BangerError } from "../../base/errors.ts";
import { errorSchema, operationSchema } from "../contract.ts";

/** What the routes of every noun are written with. */
export function json<T extends z.ZodType>(description: string, schema: T) {
  return { description, content: { "application/json": { schema } } } as const;
}

export function body<T extends z.ZodType>(schema: T) {
  return { required: true, content: { "application/json": { schema } } } as const;
}

const failure = json("What was wanted, what stood in the way, what to do next", errorSchema);
/**
 * Every route may refuse; the document says so, and the client's types don't, since its fetch throws.
 */
export function answers<T extends object>(responses: T): T {
  return { ...responses, default: failure };
}

export const started = answers({ 202: json("The operation that does it", operationSchema) });
export const nothing = { description: "Done" } as const;
export const nameParam = z.object({ name: z.string().max(256) });
/** References too. */
export const imageParam = z.object({ name: z.string().max(1024) });
export const idParam = z.object({ id: z.string().max(64) });
export const forceBody = z.object({ force: z.boolean().default(false) }).strict();

/** An app whose routes refuse a request that does not fit its schema; each noun's routes need their own. */
export function newApp(): OpenAPIHono {
  return new OpenAPIHono({
    defaultHook: (result) => {
      if (!result.success) throw invalidBody(result.error);
    },
  });
}

function invalidBody(error: z.ZodError): BangerError {
  const [issue] = error.issues;
  const where = issue?.path.join(".") ?? "";
  const message = issue?.message.startsWith("Cannot ")
    ? issue.message
    : `Cannot use the request: ${where ? `${where}: ` : ""}${issue?.message ?? "it is not valid"}`;
  return new BangerError("invalid_argument", message);
}
