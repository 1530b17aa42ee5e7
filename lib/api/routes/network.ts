import { createRoute } from "@hono/zod-openapi";
import { bridgeSchema, changeNetworkSchema, dnsStatusSchema, vmPortsSchema } from "../network_contract.ts";
import type { Services } from "../services.ts";
import { answers, body, json, nameParam, newApp } from "./parts.ts";

/** VMs' ports on the host, what they may reach, and their names. */
export function networkRoutes(network: Services["network"]) {
  return newApp()
    .openapi(
      createRoute({
        method: "get",
        path: "/v1/vms/{name}/ports",
        request: { params: nameParam },
        responses: answers({ 200: json("Its ports on this host", vmPortsSchema) }),
      }),
      async (c) => c.json(await network.ports(c.req.valid("param").name), 200),
    )
    .openapi(
      createRoute({
        method: "post",
        path: "/v1/vms/{name}/network",
        request: { params: nameParam, body: body(changeNetworkSchema) },
        responses: answers({ 200: json("Its ports on this host, as they are now", vmPortsSchema) }),
      }),
      async (c) => c.json(await network.change(c.req.valid("param").name, c.req.valid("json")), 200),
    )
    .openapi(
      createRoute({
        method: "get",
        path: "/v1/dns",
        responses: answers({ 200: json("The name server", dnsStatusSchema) }),
      }),
      async (c) => c.json(await network.dns(), 200),
    )
    .openapi(
      createRoute({
        method: "get",
        path: "/v1/bridge",
        responses: answers({ 200: json("Bridge mode on this host", bridgeSchema) }),
      }),
      async (c) => c.json(await network.bridge(), 200),
    );
}
