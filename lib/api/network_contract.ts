import { z } from "@hono/zod-openapi";
import { parseNetRule, parsePublish } from "../base/net_rules.ts";

/** What users say about a VM's network, and what they are told. */

function checkedBy(parse: (text: string) => unknown) {
  return z.string().max(300).superRefine((text, context) => {
    try {
      parse(text);
    } catch (thrown) {
      context.addIssue({ code: "custom", message: (thrown as Error).message });
    }
  });
}

/** Fields of a VM's creation. */
export const networkFields = {
  /** `[ADDRESS:]PORT[:GUEST PORT]` */
  publish: z.array(checkedBy(parsePublish)).max(64).optional(),
  /** False: only published ports are on the host. */
  forward: z.boolean().optional(),
  /** `HOST[:PORT]`, `*` for everything; empty for nothing. */
  allowNet: z.array(checkedBy(parseNetRule)).max(256).optional(),
};

export const changeNetworkSchema = z.object({
  ...networkFields,
  /** Null: what the configuration says. */
  allowNet: networkFields.allowNet.nullable(),
}).strict().openapi("ChangeNetwork");
export type ChangeNetwork = z.infer<typeof changeNetworkSchema>;

export const vmPortsSchema = z.object({
  name: z.string(),
  state: z.string(),
  network: z.string(),
  address: z.string(),
  /** Whether this host resolves `NAME.vm`; see `banger dns status`. */
  resolves: z.boolean(),
  forward: z.boolean(),
  publish: z.array(z.string()),
  /** What it may reach. */
  allow: z.array(z.string()),
  /** Whether the guest tells what listens; not yet while it boots. */
  isWatching: z.boolean(),
  truncated: z.boolean(),
  ports: z.array(z.object({
    guestPort: z.number(),
    /** Where it listens in the guest. */
    guestAddress: z.string().optional(),
    hostAddress: z.string(),
    hostPort: z.number().optional(),
    isPublished: z.boolean(),
    url: z.string().optional(),
    note: z.string().optional(),
  })),
  denied: z.array(z.object({
    protocol: z.string(),
    target: z.string(),
    port: z.number().optional(),
    why: z.string(),
    count: z.number(),
    lastAt: z.string(),
  })),
}).openapi("VmPorts");
export type VmPortsView = z.infer<typeof vmPortsSchema>;

export const dnsStatusSchema = z.object({
  address: z.string(),
  port: z.number(),
  isServing: z.boolean(),
  /** Why it does not. */
  problem: z.string().optional(),
  /** Those that are answered: running VMs. */
  records: z.array(z.object({ name: z.string(), address: z.string() })),
  /** What a hosts file holds: all VMs with a network, running or not. */
  hostRecords: z.array(z.object({ name: z.string(), address: z.string() })),
  /** Whether the daemon itself keeps banger's block in the hosts file up to date: where it is root. */
  followsHosts: z.boolean(),
  /** Whose VMs these are: banger's state directory. */
  owner: z.string(),
  /** Whether the daemon keeps the link up through which systemd-resolved asks it. */
  holdsLink: z.boolean(),
  /** Why not, though there is one. */
  linkProblem: z.string().optional(),
}).openapi("DnsStatus");
export type DnsStatusView = z.infer<typeof dnsStatusSchema>;

export const bridgeSchema = z.object({
  /** Those that run. */
  guests: z.array(z.object({ address: z.string(), tap: z.string() })),
  /** What would be done now, as commands. */
  plan: z.string(),
}).openapi("Bridge");
export type BridgeView = z.infer<typeof bridgeSchema>;
