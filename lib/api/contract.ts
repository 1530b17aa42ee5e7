import { z } from "@hono/zod-openapi";
import { type ErrorCode, ERRORS } from "../base/errors.ts";
import { parseImageRequest } from "../base/image_source.ts";
import { parseImageName, parseKernelName, parseVmName } from "../base/names.ts";
import { TRANSITIONS, type VmState } from "../base/states.ts";
import { MIB } from "../base/units.ts";
import { ENVIRONMENT_NAME, type Limits, VM_CHOICES, VM_LIMITS } from "../base/vm_limits.ts";
import { networkFields } from "./network_contract.ts";

/**
 * The one description of what the daemon takes and gives. HTTP bodies are validated with it, command
 * flags are too, and the OpenAPI document and the client's types derive from it.
 */

/** A parser of the base room as a schema: its refusal becomes the issue's text. */
function parsedBy<T extends string>(parse: (text: string) => T) {
  return z.string().transform((text, context) => {
    try {
      return parse(text);
    } catch (thrown) {
      context.addIssue({ code: "custom", message: (thrown as Error).message });
      return z.NEVER;
    }
  });
}

function within({ min, max, tooSmall, tooLarge }: Limits) {
  return z.number().int().min(min, tooSmall).max(max, tooLarge);
}

const environmentSchema = z.record(z.string().regex(ENVIRONMENT_NAME), z.string().max(32 * 1024));

/** No control characters: these end up in the guest's gitconfig. */
// deno-lint-ignore no-control-regex
const oneLine = z.string().min(1).max(200).regex(/^[^\u0000-\u001f\u007f]*$/);

export const createVmSchema = z.object({
  name: parsedBy(parseVmName).optional(),
  /** A name, or a reference or path that is pulled where it is missing. */
  image: parsedBy(parseImageRequest).optional(),
  kernel: parsedBy(parseKernelName).optional(),
  cpus: within(VM_LIMITS.cpus).optional(),
  memoryMib: within(VM_LIMITS.memoryMib).optional(),
  workDiskBytes: within(VM_LIMITS.workDiskBytes).optional(),
  network: z.enum(VM_CHOICES.network).optional(),
  ...networkFields,
  transport: z.enum(VM_CHOICES.transport).optional(),
  environment: environmentSchema.optional(),
  gitIdentity: z.object({ name: oneLine, email: oneLine }).optional(),
  /** Absent: the daemon chooses, and `vm show` says why. */
  vmm: z.enum(VM_CHOICES.vmm).optional(),
  rootDisk: z.enum(VM_CHOICES.rootDisk).optional(),
  start: z.boolean().optional(),
}).strict().openapi("CreateVm");
export type CreateVm = z.infer<typeof createVmSchema>;

/** What a new VM gets that its request does not say. The kernel may be the image's own, so it is not here. */
export const vmDefaultsSchema = z.object({
  image: z.string(),
  cpus: z.number(),
  memoryMib: z.number(),
  workDiskBytes: z.number(),
  network: z.string(),
  environment: z.record(z.string(), z.string()),
}).openapi("VmDefaults");
export type VmDefaultsView = z.infer<typeof vmDefaultsSchema>;

export const vmStateSchema = z.enum(Object.keys(TRANSITIONS) as [VmState, ...VmState[]]);

const endpointSchema = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("hybrid"), path: z.string() }),
  z.object({ kind: z.literal("vsock"), cid: z.number().int() }),
]).openapi("AgentEndpoint");
export type AgentEndpointView = z.infer<typeof endpointSchema>;

export const vmSchema = z.object({
  id: z.string(),
  name: z.string(),
  state: vmStateSchema,
  image: z.string(),
  kernel: z.string(),
  cpus: z.number(),
  memoryMib: z.number(),
  workDiskBytes: z.number(),
  /** Taken on the host by its disks; holes do not count. */
  diskUsedBytes: z.number(),
  /** Taken on the host by its VMM; absent where it does not run. */
  memoryUsedBytes: z.number().optional(),
  /** Settings that were changed while it ran: its next start uses them. */
  waitingForRestart: z.array(z.string()).optional(),
  /** In the trash: since when, and when it is removed for good at the earliest. */
  removed: z.object({ at: z.string(), keptUntil: z.string() }).optional(),
  /** What carries the root disk's writes, and why that. */
  rootDisk: z.string().optional(),
  rootDiskReason: z.string().optional(),
  /** The image before the last change, whose root disk is kept for its undo. */
  previousImage: z.string().optional(),
  network: z.string(),
  transport: z.string(),
  address: z.string(),
  createdAt: z.string(),
  startedAt: z.string().optional(),
  /** Which VMM runs it, how fast, and why that one. */
  vmm: z.object({ driver: z.string(), acceleration: z.string(), reason: z.string(), pid: z.number() })
    .optional(),
  /** It runs, but stands still, since the host's disk does not take its writes; it goes on by itself. */
  paused: z.object({ reason: z.string(), since: z.string() }).optional(),
  agent: endpointSchema.optional(),
  ssh: z.object({ identityFile: z.string(), knownHostsFile: z.string(), hostKeyAlias: z.string() }),
  lastExit: z.string().optional(),
  brokenReason: z.string().optional(),
}).openapi("Vm");
export type VmView = z.infer<typeof vmSchema>;

export const vmEventSchema = z.object({
  time: z.string(),
  event: z.string(),
  detail: z.string().optional(),
}).openapi("VmEvent");
export type VmEventView = z.infer<typeof vmEventSchema>;

export const imageSchema = z.object({
  id: z.string(),
  name: z.string(),
  source: z.string(),
  digest: z.string(),
  createdAt: z.string(),
  sizeBytes: z.number(),
  contentBytes: z.number(),
  init: z.string(),
  libc: z.string(),
  hasSshServer: z.boolean(),
  agentBuild: z.string(),
  /** As whom and where commands run that do not say it themselves. */
  user: z.string(),
  workingDirectory: z.string(),
  /** Entrypoint and its arguments; empty where the image is for no program of its own. */
  command: z.array(z.string()),
  usedBy: z.array(z.string()),
  aliases: z.array(z.string()).optional(),
  platform: z.string().optional(),
  kernel: z.string().optional(),
  /** Where a registered image's disk lies. */
  externalPath: z.string().optional(),
}).openapi("Image");
export type ImageView = z.infer<typeof imageSchema>;

export const catalogEntrySchema = z.object({
  name: z.string(),
  summary: z.string(),
  /** Tried in this order. */
  sources: z.array(z.string()),
  isPulled: z.boolean(),
}).openapi("CatalogEntry");
export type CatalogEntryView = z.infer<typeof catalogEntrySchema>;

export const pullImageSchema = z.object({
  image: parsedBy(parseImageRequest),
  name: parsedBy(parseImageName).optional(),
  platform: z.string().max(100).optional(),
  sizeBytes: z.number().int()
    .min(16 * MIB, "Cannot make so small a disk: 16 MiB is the least")
    .max(16 * 1024 * 1024 * MIB, "Cannot make so large a disk: 16 TiB is the most")
    .optional(),
}).strict().openapi("PullImage");
export type PullImage = z.infer<typeof pullImageSchema>;

export const registerImageSchema = z.object({
  name: parsedBy(parseImageName),
  rootfs: z.string().startsWith("/").max(4096),
  kernel: parsedBy(parseKernelName).optional(),
}).strict().openapi("RegisterImage");
export type RegisterImage = z.infer<typeof registerImageSchema>;

export const prunedSchema = z.object({ blobs: z.number(), freedBytes: z.number() }).openapi("Pruned");
export type PrunedView = z.infer<typeof prunedSchema>;

export const kernelSchema = z.object({
  name: z.string(),
  distribution: z.string(),
  architecture: z.string(),
  version: z.string(),
  sha256: z.string(),
  source: z.string(),
  createdAt: z.string(),
}).openapi("Kernel");
export type KernelView = z.infer<typeof kernelSchema>;

export const errorSchema = z.object({
  code: z.enum(Object.keys(ERRORS) as [ErrorCode, ...ErrorCode[]]),
  message: z.string(),
  hint: z.string().optional(),
}).openapi("Error");

/** `result` names what the operation made: a VM's, an image's or a kernel's name. */
export const operationSchema = z.object({
  id: z.string(),
  kind: z.string(),
  state: z.enum(["running", "done", "failed", "cancelled"]),
  startedAt: z.string(),
  /** What it is doing, or did last. */
  stage: z.string().optional(),
  result: z.string().optional(),
  error: errorSchema.optional(),
}).openapi("Operation");
export type OperationView = z.infer<typeof operationSchema>;

/** What an operation's event stream carries, as JSON in each SSE `data` field. */
const operationEventSchema = z.discriminatedUnion("type", [
  /** `atMs` counts from the operation's start. */
  z.object({ type: z.literal("stage"), name: z.string(), atMs: z.number() }),
  z.object({ type: z.literal("update"), done: z.number(), total: z.number().optional() }),
  z.object({ type: z.literal("note"), text: z.string() }),
  z.object({ type: z.literal("finished"), atMs: z.number(), operation: operationSchema }),
]).openapi("OperationEvent");
export type OperationEvent = z.infer<typeof operationEventSchema>;

export const versionSchema = z.object({
  version: z.string(),
  commit: z.string(),
  builtAt: z.string(),
  buildId: z.string(),
  pid: z.number(),
  stateDirectory: z.string(),
  runningOperations: z.number(),
  /** What the user must know of how the daemon came up, one sentence each. */
  notices: z.array(z.string()).optional(),
}).openapi("Version");
export type VersionView = z.infer<typeof versionSchema>;

const absolutePath = z.string().startsWith("/").max(4096);

/** One of: packages, a directory, one kernel file that has all drivers in itself. */
export const importKernelSchema = z.object({
  name: parsedBy(parseKernelName),
  origin: z.union([
    z.object({ debs: z.array(absolutePath).min(1).max(8) }).strict(),
    z.object({ directory: absolutePath }).strict(),
    z.object({ vmlinux: absolutePath }).strict(),
  ]),
}).strict().openapi("ImportKernel");
export type ImportKernel = z.infer<typeof importKernelSchema>;

export const pullKernelSchema = z.object({
  name: parsedBy(parseKernelName),
  /** Fetched again even where it is here. */
  force: z.boolean().default(false),
}).strict().openapi("PullKernel");

export const kernelCatalogEntrySchema = z.object({
  name: z.string(),
  distribution: z.string(),
  architecture: z.string(),
  version: z.string().optional(),
  description: z.string(),
  isPulled: z.boolean(),
}).openapi("KernelCatalogEntry");
export type KernelCatalogEntryView = z.infer<typeof kernelCatalogEntrySchema>;
