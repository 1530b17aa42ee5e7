import { BangerError } from "../../base/errors.ts";
import type { CommandLine, Host, PipedProcess } from "../../base/host.ts";

/** How mmdebstrap makes a root filesystem of a suite. */
export interface DebianRoot {
  readonly suite: string;
  /** Lines of sources.list(5); mmdebstrap's own choice where there are none. */
  readonly sources: readonly string[];
  readonly packages: readonly string[];
  /** Of dpkg.cfg(5). */
  readonly dpkgOptions: readonly string[];
  /** Shell commands once the essential packages' files are there; `$1` is the root directory. */
  readonly extractHooks: readonly string[];
  /** Shell commands at the end; `$1` is the root directory. */
  readonly customizeHooks: readonly string[];
  /** Seconds since 1970; nothing in the archive is dated later. */
  readonly sourceDateEpoch: number;
}

type Tools = Pick<Host, "processes" | "files">;

/** More than any of its error messages needs. */
const SHOWN_ERROR_LINES = 6;

/**
 * Runs the command in a session of its own and passes SIGTERM on to all of it. mmdebstrap needs both: when it
 * fails to write its archive it sends SIGHUP to its whole process group, which would be banger's; and when it
 * is told to stop, it waits for the children it has at that moment, which must be told too. Told early, it
 * leaves a temporary directory; so its temporary files get one directory, which goes in every case. Others
 * may look into it: apt's user, and without root the subordinate ones. Told before it began, it must not begin.
 */
const IN_OWN_SESSION = `
stopped=
trap : HUP
trap 'stopped=1; trap : TERM; kill -TERM 0' TERM
TMPDIR=$(mktemp -d "\${TMPDIR:-/tmp}/banger-recipe.XXXXXXXXXX") || exit
export TMPDIR
chmod 755 "$TMPDIR"
{ [ -z "$stopped" ] && exec "$@"; } &
while :; do
  wait $!
  code=$?
  kill -0 $! 2> /dev/null || break
done
rm -rf "$TMPDIR"
exit "$code"
`;

/** As root where banger is root, else in a user namespace. */
async function startMmdebstrap(
  host: Tools,
  root: DebianRoot,
  signal: AbortSignal,
): Promise<PipedProcess> {
  await requireTool(host, "mmdebstrap", "sudo apt install mmdebstrap");
  const asRoot = (await output(host, "id", ["-u"])) === "0";
  if (!asRoot) await requireUserNamespaces(host);
  const { program, args, ...rest } = mmdebstrapCommand(root, asRoot ? "root" : "unshare");
  const session = ["sh", "-c", IN_OWN_SESSION, "sh", program, ...args];
  return await host.processes.pipe({ ...rest, program: "setsid", args: session }, signal);
}

/** Source: mmdebstrap(1) */
export function mmdebstrapCommand(root: DebianRoot, mode: "root" | "unshare"): CommandLine {
  const options = [
    ...root.dpkgOptions.map((option) => `--dpkgopt=${option}`),
    '--aptopt=Acquire::Languages "none"',
    ...root.extractHooks.map((hook) => `--extract-hook=${hook}`),
    ...root.customizeHooks.map((hook) => `--customize-hook=${hook}`),
  ];
  return {
    program: "mmdebstrap",
    args: [
      `--mode=${mode}`,
      "--variant=apt",
      "--format=tar",
      `--include=${root.packages.join(",")}`,
      ...options,
      root.suite,
      "-",
      ...root.sources,
    ],
    env: { SOURCE_DATE_EPOCH: String(root.sourceDateEpoch), LC_ALL: "C.UTF-8" },
  };
}

/**
 * Runs mmdebstrap and hands its archive to `read`.
 *
 * Where both failed and the archive had ended, the process is the cause and the archive's fault its result.
 *
 * @throws {BangerError} `missing_tool`, `host_unsupported` from before the start; `source_unavailable` with
 * mmdebstrap's last words; whatever `read` throws
 */
export async function withMmdebstrap<T>(
  host: Tools,
  root: DebianRoot,
  signal: AbortSignal,
  read: (archive: AsyncIterable<Uint8Array>) => Promise<T>,
): Promise<T> {
  const process = await startMmdebstrap(host, root, signal);
  let ended = false;
  const archive = async function* () {
    yield* process.stdout;
    ended = true;
  };
  let result: T;
  try {
    result = await read(archive());
  } catch (failure) {
    // Nobody reads its output any more, so it ends soon, and its temporary directory is gone then.
    await process.result;
    signal.throwIfAborted();
    if (ended) await requireSuccess(process);
    throw failure;
  }
  signal.throwIfAborted();
  await requireSuccess(process);
  return result;
}

async function requireSuccess(process: PipedProcess): Promise<void> {
  const { code, stderr } = await process.result;
  if (code === 0) return;
  const lines = stderr.split("\n").map((line) => line.trim()).filter((line) => /^(E|W):/.test(line));
  const shown = lines.slice(-SHOWN_ERROR_LINES).map((line) => stripControls(line)).join("\n");
  throw new BangerError(
    "source_unavailable",
    `Cannot make a Debian root filesystem: mmdebstrap failed with code ${code}\n${shown}`.trimEnd(),
    "Check that the host's Debian mirror answers (apt-get update), and that /tmp has 1 GiB free",
  );
}

/** A mirror's answer may be part of what apt says. */
function stripControls(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, "");
}

async function requireTool({ processes }: Tools, program: string, remedy: string): Promise<void> {
  if (await processes.which(program)) return;
  throw new BangerError(
    "missing_tool",
    `Cannot make a Debian root filesystem: ${program} is not installed`,
    `Install it: ${remedy}`,
  );
}

/** Without root, mmdebstrap needs a user namespace in which more than one user exists. */
async function requireUserNamespaces(host: Tools): Promise<void> {
  await requireTool(host, "newuidmap", "sudo apt install uidmap");
  const probe = await host.processes.run({ program: "unshare", args: ["--user", "true"] });
  if (probe.code !== 0) {
    throw new BangerError(
      "host_unsupported",
      "Cannot make a Debian root filesystem without root: this host allows no user namespaces",
      "Allow them: sudo sysctl kernel.unprivileged_userns_clone=1 (on Ubuntu also " +
        "kernel.apparmor_restrict_unprivileged_userns=0)",
    );
  }
  const names = [await output(host, "id", ["-un"]), await output(host, "id", ["-u"])];
  for (const file of ["/etc/subuid", "/etc/subgid"]) {
    if (await hasSubordinateIds(host, file, names)) continue;
    throw new BangerError(
      "host_unsupported",
      `Cannot make a Debian root filesystem without root: ${file} has no range for ${names[0]}`,
      `Add one: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ${names[0]}`,
    );
  }
}

/** Source: subuid(5): `name or uid:first:count` */
async function hasSubordinateIds({ files }: Tools, path: string, names: readonly string[]): Promise<boolean> {
  if (!await files.stat(path)) return false;
  const text = await files.readText(path, 1024 * 1024);
  return text.split("\n").some((line) => names.includes(line.split(":")[0]!));
}

async function output({ processes }: Tools, program: string, args: string[]): Promise<string> {
  return (await processes.run({ program, args })).stdout.trim();
}
