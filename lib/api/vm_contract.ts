import { z } from "@hono/zod-openapi";
import { ENVIRONMENT_NAME } from "../base/vm_limits.ts";
import { createVmSchema, vmStateSchema } from "./contract.ts";

/** The part of the contract that is about VMs that are there: what can be changed, seen, brought back. */

const { cpus, memoryMib, workDiskBytes, kernel } = createVmSchema.shape;

/** Only what is to change; null takes a variable away. */
export const setVmSchema = z.object({
  cpus,
  memoryMib,
  workDiskBytes,
  /** Fetched where the catalog has it and the host has not. */
  kernel,
  environment: z.record(z.string().regex(ENVIRONMENT_NAME), z.string().max(32 * 1024).nullable())
    .optional(),
}).strict().openapi("SetVm");
export type SetVm = z.infer<typeof setVmSchema>;

/** Another image below a VM whose work disk stays; or back to the one before. */
export const changeImageSchema = z.union([
  /** The kernel: else the image's own, else the one that the VM has. */
  z.object({ image: createVmSchema.shape.image.unwrap(), kernel }).strict(),
  z.object({ undo: z.literal(true) }).strict(),
]).openapi("ChangeImage");
export type ChangeImage = z.infer<typeof changeImageSchema>;

export const plannedChangeSchema = z.object({
  setting: z.string(),
  /** For people. */
  from: z.string(),
  to: z.string(),
  takesEffect: z.enum(["now", "next start"]),
}).openapi("PlannedChange");
export type PlannedChangeView = z.infer<typeof plannedChangeSchema>;

export const removeVmSchema = z.object({
  force: z.boolean().default(false),
  /** For good, past the trash. */
  purge: z.boolean().default(false),
}).strict().openapi("RemoveVm");

export const restoreVmSchema = z.object({ name: z.string().max(256).optional() }).strict().openapi(
  "RestoreVm",
);

export const pruneVmsSchema = z.object({
  names: z.array(z.string().max(256)).max(10_000).optional(),
  olderThanMs: z.number().int().min(0).optional(),
  dryRun: z.boolean().optional(),
}).strict().openapi("PruneVms");
export type PruneVms = z.infer<typeof pruneVmsSchema>;

export const prunedVmSchema = z.object({ id: z.string(), name: z.string(), freedBytes: z.number() })
  .openapi("PrunedVm");
export type PrunedVmView = z.infer<typeof prunedVmSchema>;

/** `all` is all that is not in the trash. */
export const vmScopeSchema = z.enum(["all", "running", "removed"]);
export type VmScope = z.infer<typeof vmScopeSchema>;

/** What the guest itself says, which may be anything. */
const guestStatsSchema = z.object({
  memory: z.object({ totalBytes: z.number(), availableBytes: z.number() }),
  load: z.array(z.number()),
  processes: z.number(),
  filesystems: z.array(z.object({ path: z.string(), totalBytes: z.number(), availableBytes: z.number() })),
}).openapi("GuestStats");

export const vmStatsSchema = z.object({
  name: z.string(),
  state: vmStateSchema,
  cpus: z.number(),
  memoryMib: z.number(),
  /** On the daemon's clock that never jumps: two answers give the time between them. */
  atMs: z.number(),
  /** Used by the VMM so far; absent where it does not run. */
  cpuTimeMs: z.number().optional(),
  /** Taken on the host by the VMM. */
  memoryUsedBytes: z.number().optional(),
  diskUsedBytes: z.number(),
  guest: guestStatsSchema.optional(),
  /** Why `guest` is missing though it runs. */
  guestProblem: z.string().optional(),
}).openapi("VmStats");
export type VmStatsView = z.infer<typeof vmStatsSchema>;

export const vmHealthSchema = z.object({
  name: z.string(),
  state: vmStateSchema,
  isHealthy: z.boolean(),
  /** What is wrong, in one line. */
  problem: z.string().optional(),
  vmm: z.object({ driver: z.string(), status: z.string(), pid: z.number() }).optional(),
  agent: z.object({
    version: z.string(),
    commit: z.string(),
    /** Whether it is of the daemon's own build. */
    isOurs: z.boolean(),
    bootId: z.string(),
    uptimeSeconds: z.number(),
    answeredWithinMs: z.number(),
  }).optional(),
}).openapi("VmHealth");
export type VmHealthView = z.infer<typeof vmHealthSchema>;
