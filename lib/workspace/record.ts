/** What banger remembers of the repository that it sent into a VM. */
import { BangerError } from "../base/errors.ts";
import type { Files } from "../base/host.ts";

export interface WorkspaceRecord {
  readonly schemaVersion: 1;
  /** Where the repository lies on the host. */
  readonly top: string;
  /** ISO 8601 */
  readonly sentAt: string;
  readonly objectFormat: "sha1" | "sha256";
  /** The commit that HEAD was; absent before the first one. */
  readonly head?: string;
  /** The commit whose tree was sent. */
  readonly base: string;
  /** A plain directory: there is no repository outside. */
  readonly isCopy?: boolean;
  /** Repositories inside it, by path: what each was. */
  readonly submodules?: readonly SubmoduleRecord[];
  /** What was there when the user last took the work out. */
  readonly exported?: { readonly tree: string; readonly head?: string };
}

export interface SubmoduleRecord {
  /** Below the repository. */
  readonly path: string;
  readonly tree: string;
  readonly head?: string;
}

const MAX_RECORD_BYTES = 1024 * 1024;
const OID = /^([0-9a-f]{40}|[0-9a-f]{64})$/;

/** @returns undefined where nothing was sent */
export async function findRecord(
  files: Pick<Files, "stat" | "readText">,
  directory: string,
): Promise<WorkspaceRecord | undefined> {
  const path = `${directory}/record.json`;
  if (!(await files.stat(path))) return undefined;
  const value = parse(await files.readText(path, MAX_RECORD_BYTES));
  if (isRecord(value)) return value;
  throw new BangerError(
    "state_broken",
    `Cannot tell what was sent into this VM: ${path} is not what banger writes`,
    "Copy what you need out of the VM: banger vm exec NAME -- tar -c -C /root repo >repo.tar",
  );
}

export async function writeRecord(
  files: Pick<Files, "writeAtomic">,
  directory: string,
  record: WorkspaceRecord,
): Promise<void> {
  await files.writeAtomic(`${directory}/record.json`, `${JSON.stringify(record, undefined, 2)}\n`);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (thrown) {
    if (thrown instanceof SyntaxError) return undefined;
    throw thrown;
  }
}

function isRecord(value: unknown): value is WorkspaceRecord {
  if (typeof value !== "object" || value === null) return false;
  const { schemaVersion, top, sentAt, objectFormat, head, base } = value as Record<string, unknown>;
  return schemaVersion === 1 && typeof top === "string" && top.startsWith("/") &&
    typeof sentAt === "string" && (objectFormat === "sha1" || objectFormat === "sha256") &&
    (head === undefined || isOid(head)) && isOid(base);
}

/** Whether it is an object's whole id. */
export function isOid(value: unknown): value is string {
  return typeof value === "string" && OID.test(value);
}
