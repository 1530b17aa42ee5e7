// Its small form: each machine's relay reads this, and starts in two thirds of the time.
import * as z from "zod/mini";
import { BangerError } from "../base/errors.ts";
import type { Files } from "../base/host.ts";
import { type NetRule, parseNetRule, parsePublish, type PublishedPort } from "../base/net_rules.ts";

const MAX_SETTINGS_BYTES = 256 * 1024;

const schema = z.object({
  vmName: z.string(),
  /** In 127.42.0.0/16. */
  address: z.string(),
  /** The guest's card. */
  mac: z.string(),
  forward: z.boolean(),
  publish: z.array(z.string()),
  allow: z.array(z.string()),
  /** How the agent is reached. */
  agent: z.discriminatedUnion("kind", [
    z.object({ kind: z.literal("hybrid"), path: z.string() }),
    z.object({ kind: z.literal("vsock"), cid: z.number() }),
  ]),
  /** Where this host reaches the guest itself: in bridge mode. */
  direct: z.optional(z.string()),
  /** Where QEMU gives us the guest's frames; absent where another carries them. */
  frameSocketPath: z.optional(z.string()),
  /** The VMM, where the network ends with it: one that has no console and no streams on us. */
  vmm: z.optional(z.object({
    pid: z.int(),
    startTimeTicks: z.int(),
    bootId: z.string(),
    executable: z.string(),
  })),
  /** The card in the VMM's own namespace that has the guest's frames. */
  namespace: z.optional(z.object({ card: z.string(), hasUserNamespace: z.boolean() })),
});
export type NetworkSettingsFile = z.infer<typeof schema>;

/** What the daemon wants of the process that carries a VM's network. */
export interface NetworkSettings extends Omit<NetworkSettingsFile, "publish" | "allow"> {
  readonly publish: readonly PublishedPort[];
  readonly allow: readonly NetRule[];
}

export async function writeNetworkSettings(
  files: Files,
  path: string,
  settings: NetworkSettingsFile,
): Promise<void> {
  await files.replace(path, JSON.stringify(settings), 0o600);
}

/** @returns undefined where the VM has no network */
export async function readNetworkSettings(
  files: Files,
  path: string,
): Promise<NetworkSettings | undefined> {
  if (!(await files.stat(path))) return undefined;
  const result = schema.safeParse(JSON.parse(await files.readText(path, MAX_SETTINGS_BYTES)));
  if (!result.success) {
    throw new BangerError("state_broken", `Cannot read ${path}: it is not as banger writes it`);
  }
  const { publish, allow, ...rest } = result.data;
  return { ...rest, publish: publish.map(parsePublish), allow: allow.map(parseNetRule) };
}
