/** The official description of Firecracker's API, as a judge of requests and answers. */
import assert from "node:assert/strict";
import { parse } from "yaml";

const DESCRIPTION = new URL("../../data/firecracker-api-1.16.1.yaml", import.meta.url);

interface Schema {
  readonly $ref?: string;
  readonly type?: "object" | "string" | "integer" | "boolean" | "array";
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: unknown;
  readonly items?: Schema;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
}

interface Operation {
  readonly parameters?: readonly { name: string; in: string; required?: boolean; schema?: Schema }[];
  readonly responses: Readonly<Record<string, { schema?: Schema }>>;
}

interface Description {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly definitions: Readonly<Record<string, Schema>>;
}

export class ApiDescription {
  readonly #description: Description;

  private constructor(description: Description) {
    this.#description = description;
  }

  static async read(): Promise<ApiDescription> {
    return new ApiDescription(parse(await Deno.readTextFile(DESCRIPTION)));
  }

  /** @returns what is wrong with a request; empty where nothing is */
  checkRequest(method: string, path: string, body: unknown): string[] {
    const operation = this.#operation(method, path);
    if (!operation) return [`${method} ${path} is no operation of the API`];
    const parameter = operation.parameters?.find(({ in: place }) => place === "body");
    if (body === undefined) return parameter?.required ? [`${method} ${path} needs a body`] : [];
    if (!parameter?.schema) return [`${method} ${path} takes no body`];
    const problems = this.#check(parameter.schema, body, "body");
    const [, , id] = path.split("/");
    // What the API's own server checks and its description cannot say: the two ids are the same.
    for (const key of ["drive_id", "iface_id"]) {
      const inBody = (body as Record<string, unknown>)[key];
      if (inBody !== undefined && inBody !== id) problems.push(`${key} is not the path's`);
    }
    return problems;
  }

  /** @returns what is wrong with an answer, so that the fake says nothing that Firecracker would not */
  checkAnswer(method: string, path: string, status: number, body: unknown): string[] {
    const responses = this.#operation(method, path)?.responses;
    const answer = responses?.[String(status)] ?? responses?.default;
    if (!answer) return [`${method} ${path} never answers ${status}`];
    if (!answer.schema) return body === undefined ? [] : [`${status} has no body`];
    return this.#check(answer.schema, body, "answer");
  }

  #operation(method: string, path: string): Operation | undefined {
    const wanted = path.split("/");
    const [, operations] = Object.entries(this.#description.paths).find(([template]) => {
      const parts = template.split("/");
      return parts.length === wanted.length &&
        parts.every((part, index) => part.startsWith("{") ? wanted[index] !== "" : part === wanted[index]);
    }) ?? [];
    return operations?.[method.toLowerCase()];
  }

  #check(schema: Schema, value: unknown, at: string): string[] {
    if (schema.$ref) {
      const name = schema.$ref.replace("#/definitions/", "");
      const definition = this.#description.definitions[name];
      assert.ok(definition, `the description has no ${name}`);
      return this.#check(definition, value, at);
    }
    if (schema.enum && !schema.enum.includes(value)) return [`${at} is none of ${schema.enum.join(", ")}`];
    switch (schema.type) {
      case "string":
        return typeof value === "string" ? [] : [`${at} is no string`];
      case "boolean":
        return typeof value === "boolean" ? [] : [`${at} is no boolean`];
      case "integer":
        return checkInteger(schema, value, at);
      case "array":
        if (!Array.isArray(value)) return [`${at} is no array`];
        return value.flatMap((item, index) => this.#check(schema.items ?? {}, item, `${at}[${index}]`));
      case "object":
        return this.#checkObject(schema, value, at);
      default:
        return [];
    }
  }

  #checkObject(schema: Schema, value: unknown, at: string): string[] {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return [`${at} is no object`];
    const problems = (schema.required ?? []).filter((name) => !(name in value)).map((name) =>
      `${at} lacks ${name}`
    );
    for (const [name, part] of Object.entries(value)) {
      const property = schema.properties?.[name];
      if (property) problems.push(...this.#check(property, part, `${at}.${name}`));
      // Firecracker refuses fields that it does not know (serde, deny_unknown_fields).
      else if (!schema.additionalProperties) problems.push(`${at} has an unknown ${name}`);
    }
    return problems;
  }
}

function checkInteger({ minimum, maximum }: Schema, value: unknown, at: string): string[] {
  if (!Number.isSafeInteger(value)) return [`${at} is no integer`];
  if (minimum !== undefined && (value as number) < minimum) return [`${at} is below ${minimum}`];
  if (maximum !== undefined && (value as number) > maximum) return [`${at} is above ${maximum}`];
  return [];
}
