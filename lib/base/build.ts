/** What a build is; `deno task build` stamps it into each executable. */
export interface BuildStamp {
  readonly version: string;
  /** Abbreviated; with `-dirty` where the checkout had changes. */
  readonly commit: string;
  /** ISO 8601 */
  readonly builtAt: string;
  /** The directory of the release that it is part of; absent in builds of one's own. */
  readonly releaseUrl?: string;
}

const FLAG = "--build-stamp=";
const DEVELOPMENT: BuildStamp = { version: "0.0.0", commit: "development", builtAt: "1970-01-01T00:00:00Z" };

/**
 * Splits the stamp from the command line. `deno compile` bakes arguments in front of the user's, and
 * the stamp is the first: one source tree gives all builds, and nothing is generated.
 */
export function takeBuildStamp(argv: readonly string[]): { build: BuildStamp; args: string[] } {
  const [first, ...rest] = argv;
  if (!first?.startsWith(FLAG)) return { build: DEVELOPMENT, args: [...argv] };
  const [version = "", commit = "", builtAt = "", releaseUrl = ""] = first.slice(FLAG.length).split(",");
  const build = { version, commit, builtAt, ...(releaseUrl === "" ? {} : { releaseUrl }) };
  return { build, args: rest };
}

/** @returns the argument that `takeBuildStamp` takes */
export function buildStampArgument(build: BuildStamp): string {
  return `${FLAG}${build.version},${build.commit},${build.builtAt},${build.releaseUrl ?? ""}`;
}

/** What `banger version` says. */
export function versionLine({ version, commit, builtAt }: BuildStamp): string {
  return `banger ${version} (commit ${commit}, built ${builtAt})`;
}

/** One word that tells builds apart; it names directories. */
export function buildId(build: BuildStamp): string {
  return `${build.version}-${build.commit}-${build.builtAt.replaceAll(/[^0-9TZ]/g, "")}`;
}
