import { z } from "zod";
import { createVmSchema } from "../api/contract.ts";
import { AGENT_TOOLS } from "../base/agent_tools.ts";
import { networkFields } from "../api/network_contract.ts";
import { MIB, parseDurationMs, parseSizeBytes } from "../base/units.ts";

/**
 * What `config.toml` may say. One value for each table, so that whoever needs a new one adds it beside these;
 * every table is optional and strict. Each key's description is its line in docs/configuration.md (`deno task reference`).
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
const defaultsSchema = z.object({
  image: vm.image.describe(
    "what `vm create` and `vm run` boot: a name, a reference, a path that is absolute",
  ),
  kernel: vm.kernel.describe("with which kernel, where the image names none"),
  cpus: vm.cpus.describe("virtual processors"),
  memory: written((text) => Math.floor(parseSizeBytes(text) / MIB)).pipe(vm.memoryMib.unwrap()).optional()
    .describe("a size with a unit"),
  disk: written(parseSizeBytes).pipe(vm.workDiskBytes.unwrap()).optional()
    .describe("size of the work disk; it takes only what is written"),
  network: vm.network.describe("`none`: no network card"),
  root_disk: vm.rootDisk.describe(
    "how root disks are made (`vm create --root-disk`); without it the host's cheapest",
  ),
  environment: vm.environment.describe("variables of every command in the VM; `--env` adds to them and wins"),
}).strict();

const registriesSchema = z.object({
  insecure: z.array(host).default([])
    .describe("hosts, with their port, that are spoken to over plain HTTP; loopback always may be"),
  mirrors: z.array(z.object({ prefix: place, location: place }).strict()).default([])
    .describe("asked before the registry itself, the longest prefix first"),
}).strict();

/** How long a removed VM can be brought back. */
const trashSchema = z.object({
  keep: written(parseDurationMs).optional().describe("`90s`, `15m`, `12h`, `7d`, `2w`; `0`: not at all"),
}).strict();

const vmmSchema = z.object({
  driver: z.enum(["qemu", "firecracker"]).optional()
    .describe("for VMs that ask for none; without it what the host does best (docs/vmm.md)"),
  firecracker: z.string().startsWith("/", "write an absolute path").optional()
    .describe("path of Firecracker's program; without it the one on PATH"),
  jailer: z.boolean().optional()
    .describe("whether Firecracker runs within its jailer, which needs root (docs/vmm.md)"),
}).strict();

const disksSchema = z.object({
  reserve: written(parseSizeBytes).optional()
    .describe("free on the host's disk before a VM is made, started, or goes on (docs/vmm.md)"),
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
const fileSyncSchema = z.object({
  host: hostPath,
  /** Default: the same path, where that begins with ~/. */
  guest: guestPath.optional(),
}).strict().refine(
  ({ host, guest }) => guest !== undefined || host.startsWith("~/"),
  { message: 'say where it goes: guest = "/path"', path: ["guest"] },
);

const agentsSchema = z.object({
  credentials: z.array(z.enum(AGENT_TOOLS)).default([])
    .describe("tools whose credentials every VM gets: see below"),
}).strict();

/** Of the name server on the loopback, for `.vm`. */
export const DEFAULT_DNS_PORT = 42069;

const networkSchema = z.object({
  allow: networkFields.allowNet.unwrap().default(["*"])
    .describe("what VMs may reach that say nothing themselves: `HOST[:PORT]` (docs/networking.md)"),
  dns_port: z.number().int().min(1).max(65535).default(DEFAULT_DNS_PORT)
    .describe("of the name server on 127.0.0.1 that answers for `.vm`; read at the daemon's start"),
}).strict();

/** Coding agents in VMs that editors talk to. */
const acpSchema = z.object({
  command: z.array(z.string().min(1)).min(1, "name a program").optional()
    .describe("the coding agent that `banger vm acp` runs in the VM: program and arguments"),
}).strict();

export const configSchema = z.object({
  acp: acpSchema.default({}),
  defaults: defaultsSchema.default({}),
  vmm: vmmSchema.default({}),
  disks: disksSchema.default({}),
  file_sync: z.array(fileSyncSchema).default([])
    .describe("files and directories that every VM gets at each start: see below"),
  agents: agentsSchema.default({ credentials: [] }),
  network: networkSchema.default({ allow: ["*"], dns_port: DEFAULT_DNS_PORT }),
  trash: trashSchema.default({}),
  registries: registriesSchema.default({ insecure: [], mirrors: [] }),
}).strict();

/** What the user's `config.toml` says, defaults of lists filled in. */
export type ConfigFile = z.infer<typeof configSchema>;
