import { createHash } from "node:crypto";
import { type DownloadHost, downloadVerified, fetchText } from "../base/download.ts";
import { BangerError } from "../base/errors.ts";
import type { Host, Progress } from "../base/host.ts";
import { quote } from "../base/names.ts";

const MAX_SUMS_BYTES = 256 * 1024;
const MAX_EXECUTABLE_BYTES = 512 * 1024 * 1024;
/** Beside the executable, so that the last step is a rename. */
const STAGING_PREFIX = ".banger-upgrade-";
const SUM_LINE = /^([0-9a-f]{64}) {2}(banger-([0-9A-Za-z.+-]+)-linux-([0-9a-z_]+))$/;

export type UpgradeHost = DownloadHost & Pick<Host, "processes">;

export interface UpgradePlaces {
  /** The executable that is to be replaced. */
  readonly executable: string;
  /** Where the one before is kept. */
  readonly previous: string;
  /** As its kernel calls the processor: `x86_64`. */
  readonly architecture: string;
}

/** An executable that a release has. */
export interface ReleaseFile {
  readonly version: string;
  readonly url: string;
  readonly sha256: string;
}

/**
 * What a release has for this host.
 *
 * @param baseUrl the directory that SHA256SUMS lies in
 * @param version undefined for the one that the release is of
 * @throws {BangerError} `source_unavailable`; `corrupt_data`; `not_found`
 */
export async function findRelease(
  host: UpgradeHost,
  baseUrl: string,
  architecture: string,
  version: string | undefined,
  signal: AbortSignal,
): Promise<ReleaseFile> {
  const base = baseUrl.replace(/\/+$/, "");
  if (!/^https?:\/\//.test(base) || !URL.canParse(base)) {
    throw new BangerError("invalid_argument", `Cannot use ${quote(baseUrl)} as a release's address`);
  }
  const sums = await fetchText(host, `${base}/SHA256SUMS`, MAX_SUMS_BYTES, signal);
  for (const line of sums.split("\n")) {
    const [, sha256, name, found, processor] = SUM_LINE.exec(line) ?? [];
    if (!sha256 || !name || !found || processor !== architecture) continue;
    if (version === undefined || version === found) return { version: found, url: `${base}/${name}`, sha256 };
  }
  throw new BangerError(
    "not_found",
    `Cannot upgrade: ${base}/SHA256SUMS lists no banger ${version ? `${version} ` : ""}for ${architecture}`,
    "Choose another version, or another address: --url URL",
  );
}

/** @returns whether the executable is that file already */
export async function isInstalled({ files }: Pick<Host, "files">, path: string, sha256: string) {
  const hash = createHash("sha256");
  for await (const chunk of files.readStream(path)) hash.update(chunk);
  return hash.digest("hex") === sha256;
}

/**
 * Replaces the executable: at every moment there is the whole old one or the whole new one. The old one is kept.
 * VMs run on; the daemon is replaced by the next command, once it is idle.
 *
 * @throws {BangerError} `host_unsupported` where the new one does not run here; see `downloadVerified`
 */
export async function replaceExecutable(
  host: UpgradeHost,
  { executable, previous }: UpgradePlaces,
  file: ReleaseFile,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const { files } = host;
  const directory = executable.slice(0, executable.lastIndexOf("/"));
  for (const name of await files.list(directory)) {
    // Of an upgrade that was killed.
    if (name.startsWith(STAGING_PREFIX)) await files.remove(`${directory}/${name}`);
  }
  const staging = `${directory}/${STAGING_PREFIX}${crypto.randomUUID()}`;
  try {
    progress.stage(`downloading banger ${file.version}`);
    const source = { url: file.url, sha256: file.sha256, maxBytes: MAX_EXECUTABLE_BYTES };
    await downloadVerified(host, source, staging, progress, signal);
    await files.setMode(staging, 0o755);
    progress.stage("replacing the executable");
    await requireRuns(host, staging);
    await copyTo(host, executable, previous);
    signal.throwIfAborted();
    await files.rename(staging, executable);
  } finally {
    await files.remove(staging);
  }
}

/**
 * Goes back to the executable before the last upgrade; the one that is left is kept in its place, so that going
 * back twice changes nothing.
 *
 * @throws {BangerError} `not_found` where none is kept
 */
export async function goBack(host: UpgradeHost, { executable, previous }: UpgradePlaces): Promise<void> {
  const { files } = host;
  if (!(await files.stat(previous))) {
    throw new BangerError(
      "not_found",
      "Cannot go back: no earlier banger is kept on this host",
      "Install the version that you want: banger upgrade --version VERSION",
    );
  }
  const directory = executable.slice(0, executable.lastIndexOf("/"));
  const staging = `${directory}/${STAGING_PREFIX}${crypto.randomUUID()}`;
  try {
    await copyTo(host, previous, staging);
    await requireRuns(host, staging);
    await copyTo(host, executable, previous);
    await files.rename(staging, executable);
  } finally {
    await files.remove(staging);
  }
}

async function requireRuns({ processes }: UpgradeHost, path: string): Promise<void> {
  const { code, stderr } = await processes.run({ program: path, args: ["version"] });
  if (code === 0) return;
  throw new BangerError(
    "host_unsupported",
    `Cannot use the new banger: it does not run here (${stderr.trim().split("\n")[0] ?? code})`,
    "Nothing was changed",
  );
}

/** Published by rename, executable. */
async function copyTo({ files }: UpgradeHost, from: string, to: string): Promise<void> {
  const directory = to.slice(0, to.lastIndexOf("/"));
  await files.makeDirectory(directory, 0o700);
  const staging = `${directory}/${STAGING_PREFIX}${crypto.randomUUID()}`;
  try {
    {
      await using file = await files.open(staging, { write: true, createNew: true, mode: 0o755 });
      let at = 0;
      for await (const chunk of files.readStream(from)) {
        await file.writeAt(chunk, at);
        at += chunk.length;
      }
      await file.sync();
    }
    await files.rename(staging, to);
  } finally {
    await files.remove(staging);
  }
}
