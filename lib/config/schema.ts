import { z } from "zod";
import { createVmSchema } from "../api/contract.ts";
import { AGENT_TOOLS } from "../base/agent_tools.ts";
import { networkFields } from "../api/network_contract.ts";
import { MIB, parseDurationMs, parseSizeBytes } from "../base/units.ts";

/**
 * What `config.toml` may say. One value for each table, so that whoever needs a new one adds it beside these;
 * every table is optional and strict, and docs/configuration.md tells users about each key.
 */

const HOST = String.raw`(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::\d{1,5})?`;
const host = z.string().regex(new RegExp(`^${HOST}$`), "write host or host:port, without a scheme");
const place = z.string().regex(
  new RegExp(`^${HOST}(?:/[a-z0-9._-]+)*$`),
  "write host[:port][/path], without a scheme",
);

/** Text that a parser of the base room takes; its refusal becomes the issue's text. */
function written<T>(parse: (text: string) => T) {
  return z.string().transform((text, context) => {
    try {
      return parse(text);
    } catch (thrown) {
      context.addIssue({ code: "custom", message: (thrown as Error).message });
      return z.NEVER;
    }
  });
}

const vm = createVmSchema.shape;

/** What a VM gets that its command does not say. The flags' own schemas say what is allowed. */
export const defaultsSchema = z.object({
  image: vm.image,
  kernel: vm.kernel,
  cpus: vm.cpus,
  memory: written((text) => Math.floor(parseSizeBytes(text) / MIB)).pipe(vm.memoryMib.unwrap()).optional(),
  disk: written(parseSizeBytes).pipe(vm.workDiskBytes.unwrap()).optional(),
  network: vm.network,
  /** How root disks are made; without it the cheapest that the host has. */
  root_disk: vm.rootDisk,
  environment: vm.environment,
}).strict();

export const registriesSchema = z.object({
  /** Hosts, with their port, that are spoken to over plain HTTP. */
  insecure: z.array(host).default([]),
  /** Asked before the registry itself. */
  mirrors: z.array(z.object({ prefix: place, location: place }).strict()).default([]),
}).strict();

/** How long a removed VM can be brought back. */
export const trashSchema = z.object({
  keep: written(parseDurationMs).optional(),
}).strict();

export const vmmSchema = z.object({
  /** For VMs that ask for none. */
  driver: z.enum(["qemu", "firecracker"]).optional(),
  /** Where Firecracker is; default: on PATH. */
  firecracker: z.string().startsWith("/", "write an absolute path").optional(),
}).strict();

export const disksSchema = z.object({
  /** Free on the host's disk before a VM is made or started, or goes on after it was paused for want of space. */
  reserve: written(parseSizeBytes).optional(),
}).strict();

const hostPath = z.string().max(4096).regex(
  /^(~\/|\/)[^\0]*$/,
  "write an absolute path, or one that begins with ~/",
);
const guestPath = hostPath.refine(
  (path) => path.split("/").filter((part) => part !== "" && part !== "." && part !== "~").length > 0,
  "write the path of a file or a directory below the root",
).refine((path) => !path.split("/").includes(".."), "write it without ..");

/** Files of the host that every machine gets at its start. */
export const fileSyncSchema = z.object({
  host: hostPath,
  /** Default: the same path, where that begins with ~/. */
  guest: guestPath.optional(),
}).strict().refine(
  ({ host, guest }) => guest !== undefined || host.startsWith("~/"),
  { message: 'say where it goes: guest = "/path"', path: ["guest"] },
);

export const agentsSchema = z.object({
  /** Whose credentials every machine gets. */
  credentials: z.array(z.enum(AGENT_TOOLS)).default([]),
}).strict();

/** Of the name server on the loopback, for `.vm`. */
export const DEFAULT_DNS_PORT = 42069;

export const networkSchema = z.object({
  /** What VMs may reach that say nothing themselves. */
  allow: networkFields.allowNet.unwrap().default(["*"]),
  dns_port: z.number().int().min(1).max(65535).default(DEFAULT_DNS_PORT),
}).strict();

/** Coding agents in VMs that editors talk to. */
export const acpSchema = z.object({
  /** Program and arguments, in the guest. */
  command: z.array(z.string().min(1)).min(1, "name a program").optional(),
}).strict();

export const configSchema = z.object({
  acp: acpSchema.default({}),
  defaults: defaultsSchema.default({}),
  vmm: vmmSchema.default({}),
  disks: disksSchema.default({}),
  file_sync: z.array(fileSyncSchema).default([]),
  agents: agentsSchema.default({ credentials: [] }),
  network: networkSchema.default({ allow: ["*"], dns_port: DEFAULT_DNS_PORT }),
  trash: trashSchema.default({}),
  registries: registriesSchema.default({ insecure: [], mirrors: [] }),
}).strict();

/** What the user's `config.toml` says, defaults of lists filled in. */
export type ConfigFile = z.infer<typeof configSchema>;
