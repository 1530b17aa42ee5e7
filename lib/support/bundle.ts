/**
 * What helps somebody else to find out what went wrong here: versions, findings, logs. No disk, no key, no file of
 * a VM; environment values and whatever looks like a secret are masked. Needs no daemon, since it may be what fails.
 */
import { gzipSync } from "node:zlib";
import type { BuildStamp } from "../base/build.ts";
import { BangerError, reasonOf } from "../base/errors.ts";
import type { Finding } from "../base/finding.ts";
import type { Host } from "../base/host.ts";
import { writeUstar } from "../guest/config/ustar.ts";
import { type Paths, vmPaths } from "../store/paths.ts";
import { addAll, maskedConfig } from "./config_text.ts";
import { MASK, Masking } from "./masking.ts";

const MAX_TEXT_BYTES = 1024 * 1024;
const DAEMON_LOG_BYTES = 512 * 1024;
const CONSOLE_BYTES = 64 * 1024;
const MAX_VMS = 200;
const VM_ID = /^[0-9a-f]{12}$/;
/** Of a VM's record: values that are the user's own. */
const PRIVATE_KEYS: ReadonlySet<string> = new Set(["environment", "env", "gitIdentity"]);

export interface SupportWorld {
  readonly host: Pick<Host, "files" | "clock">;
  readonly paths: Paths;
  readonly build: BuildStamp;
  readonly doctor: () => Promise<Finding[]>;
}

/** One file of the bundle, masked already. */
export interface SupportFile {
  readonly name: string;
  /** For the user, in a few words. */
  readonly what: string;
  readonly text: string;
}

/** Reads and masks everything. Nothing is written. */
export async function collectSupportFiles(world: SupportWorld): Promise<SupportFile[]> {
  const masking = new Masking();
  // Before any log: what these hold must not be seen in it.
  const config = await configFile(world, masking);
  const ids = (await world.host.files.list(world.paths.vmsDirectory)).filter((id) => VM_ID.test(id));
  const records = await Promise.all(
    ids.slice(0, MAX_VMS).map(async (id) => [id, await vmRecord(world, id, masking)] as const),
  );
  const files = [
    await versionsFile(world),
    await doctorFile(world),
    ...config,
    await tailFile(world, world.paths.daemonLog, "daemon.log", "the daemon's log", DAEMON_LOG_BYTES),
  ];
  for (const [id, record] of records) files.push(record, ...await vmFiles(world, id));
  return files.filter((file) => file !== undefined)
    .map((file) => ({ ...file, text: masking.text(file.text) }));
}

/** @returns a tar.gz of one directory */
export function packSupportFiles(files: readonly SupportFile[]): Uint8Array {
  const entries = files.map(({ name, text }) => ({
    name: `banger-support/${name}`,
    mode: 0o600,
    content: new TextEncoder().encode(text),
  }));
  return gzipSync(writeUstar(entries));
}

async function versionsFile({ host, build }: SupportWorld): Promise<SupportFile> {
  const read = async (path: string) =>
    await host.files.stat(path) === undefined ? "" : await host.files.readText(path, MAX_TEXT_BYTES);
  const text = [
    `banger ${build.version} (commit ${build.commit}, built ${build.builtAt})`,
    `made ${new Date(host.clock.now()).toISOString()}`,
    (await read("/proc/version")).trim(),
    (await read("/etc/os-release")).trim(),
    "",
  ].join("\n");
  return { name: "versions.txt", what: "versions of banger, kernel and distribution", text };
}

/** A host on which the doctor fails is the one whose bundle matters most. */
async function doctorFile({ doctor }: SupportWorld): Promise<SupportFile> {
  const what = "what banger doctor finds";
  try {
    return { name: "doctor.json", what, text: `${JSON.stringify(await doctor(), undefined, 2)}\n` };
  } catch (thrown) {
    return { name: "doctor.json", what, text: `${JSON.stringify({ failed: reasonOf(thrown) })}\n` };
  }
}

async function configFile({ host, paths }: SupportWorld, masking: Masking): Promise<SupportFile[]> {
  if (await host.files.stat(paths.configFile) === undefined) return [];
  const what = "the configuration: values that may be private are masked, comments left out";
  const shown = maskedConfig(await host.files.readText(paths.configFile, MAX_TEXT_BYTES), masking);
  const text = shown ?? "# left out: it is no TOML; doctor.json says what is wrong with it\n";
  return [{ name: "config.toml", what, text }];
}

async function vmRecord(
  { host, paths }: SupportWorld,
  id: string,
  masking: Masking,
): Promise<SupportFile | undefined> {
  const path = vmPaths(paths, id).record;
  if (await host.files.stat(path) === undefined) return undefined;
  const name = `vms/${id}/vm.json`;
  try {
    const record: unknown = JSON.parse(await host.files.readText(path, MAX_TEXT_BYTES));
    const text = `${JSON.stringify(withoutPrivate(record, masking), undefined, 2)}\n`;
    return { name, what: `what VM ${nameIn(record)} is: values of its environment are masked`, text };
  } catch (thrown) {
    if (!(thrown instanceof SyntaxError || thrown instanceof BangerError)) throw thrown;
    return { name, what: "the record of a VM that cannot be read", text: `{"left out": "it is no JSON"}\n` };
  }
}

function nameIn(record: unknown): string {
  const isNamed = typeof record === "object" && record !== null && "name" in record;
  return isNamed && typeof record.name === "string" ? record.name : "(without a name)";
}

/** @returns a copy; names of variables stay */
function withoutPrivate(value: unknown, masking: Masking): unknown {
  if (Array.isArray(value)) return value.map((inner) => withoutPrivate(inner, masking));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => {
      if (!PRIVATE_KEYS.has(key)) return [key, withoutPrivate(inner, masking)];
      addAll(masking, inner);
      if (typeof inner !== "object" || inner === null) return [key, MASK];
      return [key, Object.fromEntries(Object.keys(inner).map((name) => [name, MASK]))];
    }),
  );
}

async function vmFiles(world: SupportWorld, id: string): Promise<(SupportFile | undefined)[]> {
  const { events, consoleLog, machineLog, relayLog } = vmPaths(world.paths, id);
  return await Promise.all([
    tailFile(world, events, `vms/${id}/events.jsonl`, "what happened to it", MAX_TEXT_BYTES),
    tailFile(world, consoleLog, `vms/${id}/console.log`, "the end of its console", CONSOLE_BYTES),
    tailFile(world, machineLog, `vms/${id}/machine.log`, "what its VMM said", CONSOLE_BYTES),
    tailFile(world, relayLog, `vms/${id}/relay.log`, "what its relay said", CONSOLE_BYTES),
  ]);
}

/** The end of a file, from the beginning of a line. */
async function tailFile(
  { host: { files } }: SupportWorld,
  path: string,
  name: string,
  what: string,
  maxBytes: number,
): Promise<SupportFile | undefined> {
  const stat = await files.stat(path);
  if (stat?.kind !== "file") return undefined;
  const offsetBytes = Math.max(0, stat.sizeBytes - maxBytes);
  const range = { offsetBytes, sizeBytes: stat.sizeBytes - offsetBytes };
  const text = await new Response(files.readStream(path, range)).text();
  // A line that is cut may be the second half of a secret whose name is gone.
  const lineAt = offsetBytes === 0 ? 0 : text.indexOf("\n") + 1;
  const whole = offsetBytes > 0 && lineAt === 0 ? "" : text.slice(lineAt);
  return { name, what, text: whole };
}
