import { createHash } from "node:crypto";
import { ARCHITECTURES } from "../base/architecture.ts";
import { BangerError } from "../base/errors.ts";
import type { Host, Progress } from "../base/host.ts";
import { quote } from "../base/names.ts";
import { formatBytes, MIB } from "../base/units.ts";
import { type AptSource, formatAptSources, isMainArchive, parseAptSources } from "./apt_sources.ts";
import { parseControl } from "./deb.ts";
import { withFileLock } from "./file_lock.ts";

/** Package lists younger than that are not asked for again. */
const LISTS_FRESH_MS = 60 * 60 * 1000;
const MAX_SOURCES_BYTES = 1024 * 1024;
const MAX_SHOWN_PACKAGES_BYTES = 4 * MIB;
/** Lists and their cache take some 60 MB; packages are checked on their own. */
const LISTS_NEED_BYTES = 128 * MIB;
const PACKAGE_NAME = /^[a-z0-9][a-z0-9+.-]+$/;
const VERSION = /^[A-Za-z0-9][A-Za-z0-9.+:~-]*$/;
const SUITE = /^[a-z0-9][a-z0-9.-]*$/;

/** A package as its (signed) index lists it. */
export interface AptPackage {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  /** `Depends`, as written. */
  readonly depends: string;
}

type AptHost = Pick<Host, "files" | "processes" | "clock">;

/**
 * Fetches Debian packages through the host's apt, which checks signatures and hashes, without root and
 * without changing anything of the host: lists, caches, status and sources are private ones below a
 * directory of ours. Mirrors and keyrings are the host's own.
 */
export class AptFetcher {
  readonly #host: AptHost;
  readonly #directory: string;
  readonly #suite: string | undefined;
  /** As Debian calls it. */
  readonly #architecture: string;

  /**
   * @param directory a cache: made when missing, fine to delete
   * @param suite a suite such as `forky`, from the host's mirror, in place of the suites that the host uses
   */
  constructor(host: AptHost, directory: string, suite?: string) {
    if (suite !== undefined && !SUITE.test(suite)) {
      throw new BangerError("invalid_argument", `Cannot use ${quote(suite)} as a Debian suite`);
    }
    this.#host = host;
    this.#directory = `${directory}/${suite ?? "host"}`;
    this.#suite = suite;
    this.#architecture = ARCHITECTURES[host.processes.architecture].debianName;
  }

  /**
   * The newest version of a package, from lists that are at most an hour old.
   *
   * @throws {BangerError} `not_found`; `missing_tool` without apt; `host_unsupported` where the host's sources
   *   are not Debian's; `source_unavailable` where the mirror cannot be reached or fails verification
   */
  async find(name: string, signal: AbortSignal): Promise<AptPackage> {
    if (!PACKAGE_NAME.test(name)) {
      throw new BangerError("invalid_argument", `Cannot use ${quote(name)} as a package name`);
    }
    await this.#prepare(signal);
    const { code, stdout } = await this.#apt("apt-cache", ["show", "--no-all-versions", name], signal);
    const fields = parseControl(stdout.split("\n\n")[0] ?? "");
    const version = fields.get("Version") ?? "";
    if (code !== 0 || fields.get("Package") !== name || !VERSION.test(version)) {
      throw new BangerError(
        "not_found",
        `Cannot fetch package ${name}: ${this.#suite ?? "the host's Debian release"} has none`,
      );
    }
    return {
      name,
      version,
      architecture: fields.get("Architecture") ?? this.#architecture,
      sizeBytes: Number(fields.get("Size") ?? 0),
      sha256: fields.get("SHA256") ?? "",
      depends: fields.get("Depends") ?? "",
    };
  }

  /**
   * Downloads a package that `find` returned, unless it is there already.
   *
   * @param directory made when missing
   * @returns the path of the .deb
   * @throws {BangerError} `no_space`; `source_unavailable`; `corrupt_data`
   */
  async download(
    found: AptPackage,
    directory: string,
    progress: Progress,
    signal: AbortSignal,
  ): Promise<string> {
    const { files } = this.#host;
    await files.makeDirectory(directory);
    // apt's own naming. Source: apt-pkg/acquire-item.cc, QuoteString(..., "_:")
    const version = found.version.replaceAll(":", "%3a");
    const path = `${directory}/${found.name}_${version}_${found.architecture}.deb`;
    const isGood = async () => await this.#hash(path) === found.sha256;
    if (await isGood()) return path;
    // apt takes a file of the right name and size for the package.
    await files.remove(path);
    await this.#needSpace(directory, found.sizeBytes + 8 * MIB);
    await this.#locked(signal, () => this.#runDownload(found, directory, progress, signal));
    if (!await isGood()) {
      await files.remove(path);
      throw new BangerError(
        "corrupt_data",
        `Cannot use package ${found.name}: it does not have the checksum that its index says`,
        "Try again",
      );
    }
    return path;
  }

  async #runDownload(found: AptPackage, directory: string, progress: Progress, signal: AbortSignal) {
    const { program, args, env } = this.#command("apt-get", [
      "--option=APT::Status-Fd=1",
      "--quiet",
      "download",
      `${found.name}=${found.version}`,
    ]);
    const child = await this.#host.processes.pipe({ program, args, env, cwd: directory }, signal);
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      const percent = /dlstatus:\d+:([\d.]+):/.exec(text)?.[1];
      if (percent !== undefined) {
        progress.update(Math.round(Number(percent) / 100 * found.sizeBytes), found.sizeBytes);
      }
    }
    const { code, stderr } = await child.result;
    signal.throwIfAborted();
    if (code !== 0) throw await this.#failure(`download package ${found.name}`, stderr, directory);
  }

  /** Lists that are fresh enough, in private directories. */
  async #prepare(signal: AbortSignal): Promise<void> {
    const { files, clock, processes } = this.#host;
    for (const program of ["apt-get", "apt-cache", "apt-config"]) {
      if (await processes.which(program)) continue;
      throw new BangerError(
        "missing_tool",
        `Cannot fetch Debian packages: this host has no ${program}`,
        `Download linux-image-*-cloud-${this.#architecture} and busybox-static from a Debian mirror, then: banger kernel import NAME --deb FILE --deb FILE`,
      );
    }
    const directory = this.#directory;
    await files.makeDirectory(`${directory}/lists/partial`);
    await files.makeDirectory(`${directory}/archives/partial`);
    await files.makeDirectory(`${directory}/sources`);
    await this.#needSpace(directory, LISTS_NEED_BYTES);
    const sources = formatAptSources(await this.#sources(signal), this.#architecture);
    await this.#locked(signal, async () => {
      const stampPath = `${directory}/updated`;
      const stamp = (await files.stat(stampPath))?.kind === "file"
        ? await files.readText(stampPath, MAX_SOURCES_BYTES)
        : "";
      const [updatedAt, ...known] = stamp.split("\n");
      if (known.join("\n") === sources && Math.abs(clock.now() - Number(updatedAt)) < LISTS_FRESH_MS) return;
      await files.writeAtomic(`${directory}/sources/banger.sources`, sources, 0o644);
      await files.writeAtomic(`${directory}/status`, "", 0o644);
      await files.writeAtomic(
        `${directory}/apt.conf`,
        privateConfiguration(directory, this.#architecture),
        0o644,
      );
      const { code, stderr } = await this.#apt(
        "apt-get",
        ["--quiet", "--option=APT::Update::Error-Mode=any", "update"],
        signal,
      );
      if (code !== 0) throw await this.#failure("fetch Debian's package lists", stderr, directory);
      await files.writeAtomic(stampPath, `${clock.now()}\n${sources}`, 0o644);
    });
  }

  /** What of the host's apt sources is Debian's. */
  async #sources(signal: AbortSignal): Promise<AptSource[]> {
    const { files, processes } = this.#host;
    const { stdout } = await processes.run({
      program: "apt-config",
      args: ["shell", "LIST", "Dir::Etc::sourcelist/f", "PARTS", "Dir::Etc::sourceparts/d"],
    }, { signal });
    const list = /^LIST='([^']*)'$/m.exec(stdout)?.[1] ?? "/etc/apt/sources.list";
    const parts = /^PARTS='([^']*)'$/m.exec(stdout)?.[1] ?? "/etc/apt/sources.list.d/";
    const names = (await files.list(parts)).filter((name) => /^[A-Za-z0-9_.-]+\.(list|sources)$/.test(name));
    const sources: AptSource[] = [];
    for (const path of [list, ...names.map((name) => `${parts.replace(/\/$/, "")}/${name}`)]) {
      if (await files.stat(path) === undefined) continue;
      sources.push(...parseAptSources(path, await files.readText(path, MAX_SOURCES_BYTES)));
    }
    const wanted = this.#suite === undefined ? sources : otherSuite(sources, this.#suite);
    if (wanted.length > 0) return wanted;
    throw new BangerError(
      "host_unsupported",
      "Cannot fetch Debian packages: this host's apt has no Debian sources",
      `Download linux-image-*-cloud-${this.#architecture} and busybox-static from a Debian mirror, then: banger kernel import NAME --deb FILE --deb FILE`,
    );
  }

  #command(program: string, args: readonly string[]) {
    return {
      program,
      args: [`--config-file=${this.#directory}/apt.conf`, ...args],
      env: { LC_ALL: "C.UTF-8", DEBIAN_FRONTEND: "noninteractive" },
    };
  }

  async #apt(program: string, args: readonly string[], signal: AbortSignal) {
    return await this.#host.processes.run(this.#command(program, args), {
      signal,
      maxOutputBytes: MAX_SHOWN_PACKAGES_BYTES,
    });
  }

  /** One apt at a time in a directory. */
  async #locked(signal: AbortSignal, act: () => Promise<void>): Promise<void> {
    await withFileLock(this.#host, `${this.#directory}/banger.lock`, signal, act);
  }

  async #hash(path: string): Promise<string | undefined> {
    const { files } = this.#host;
    if (await files.stat(path) === undefined) return undefined;
    const hash = createHash("sha256");
    for await (const chunk of files.readStream(path)) hash.update(chunk);
    return hash.digest("hex");
  }

  async #needSpace(directory: string, needBytes: number): Promise<void> {
    const freeBytes = await this.#host.files.freeBytes(directory);
    if (freeBytes >= needBytes) return;
    throw new BangerError(
      "no_space",
      `Cannot fetch Debian packages to ${directory}: ${formatBytes(freeBytes)} free, ${
        formatBytes(needBytes)
      } needed`,
      "Free some space, or move XDG_CACHE_HOME",
    );
  }

  async #failure(action: string, stderr: string, directory: string): Promise<BangerError> {
    const lines = stderr.split("\n").filter((line) => /^[EW]:/.test(line)).slice(-3);
    // Mirrors' words: nothing that a terminal would act on.
    const said = lines.join(" ").replaceAll(/[^\x20-\x7e]/g, "?").slice(0, 600);
    if (await this.#host.files.freeBytes(directory) < MIB) {
      return new BangerError(
        "no_space",
        `Cannot ${action}: no space left below ${directory}`,
        "Free some space, or move XDG_CACHE_HOME",
      );
    }
    return new BangerError(
      "source_unavailable",
      `Cannot ${action}: ${said === "" ? "apt failed" : said}`,
      "Check the network and the host's apt sources (apt-get update), then try again",
    );
  }
}

/** The host's mirror and keyrings, with another suite. */
function otherSuite(sources: readonly AptSource[], suite: string): AptSource[] {
  const main = sources.find(isMainArchive);
  return main === undefined ? [] : [{ ...main, suites: [suite] }];
}

/** Read after the host's configuration, so that proxies stay and hooks of the host's own update go. */
function privateConfiguration(directory: string, architecture: string): string {
  return `#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
#clear APT::Architectures;
#clear APT::Default-Release;
APT::Architecture "${architecture}";
APT::Architectures:: "${architecture}";
APT::Sandbox::User "root";
APT::Get::AllowUnauthenticated "false";
APT::Get::List-Cleanup "true";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::Retries "2";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
Dir::State "${directory}";
Dir::State::lists "${directory}/lists";
Dir::State::status "${directory}/status";
Dir::State::extended_states "${directory}/extended_states";
Dir::Cache "${directory}";
Dir::Cache::archives "${directory}/archives";
Dir::Cache::pkgcache "${directory}/pkgcache.bin";
Dir::Cache::srcpkgcache "${directory}/srcpkgcache.bin";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "${directory}/sources";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
`;
}
