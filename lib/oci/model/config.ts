import { type Digest, parseDigest } from "./digest.ts";
import { JsonReader, parseJson } from "./json.ts";
import type { Platform } from "./platform.ts";

const MAX_LIST = 4096;

/** What an image says about itself and how to run it. All of it is data from outside: nothing here acts on it. */
export interface ImageConfig {
  readonly platform: Platform;
  /** Of the uncompressed layers, bottom first. */
  readonly diffIds: readonly Digest[];
  /** `user`, `uid`, `user:group` or `uid:gid`; "" for root. */
  readonly user: string;
  /** `NAME=value`. */
  readonly environment: readonly string[];
  /** "" for the root directory. */
  readonly workingDirectory: string;
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  readonly stopSignal: string | undefined;
  readonly labels: ReadonlyMap<string, string>;
}

/**
 * @throws {BangerError} `corrupt_data`
 * Source: OCI image-spec, config.md
 */
export function parseConfig(bytes: Uint8Array): ImageConfig {
  const what = "an image's configuration";
  const reader = new JsonReader(parseJson(bytes, what), what);
  const rootfs = reader.findObject("rootfs");
  const diffIds = rootfs?.findStrings("diff_ids", MAX_LIST);
  if (diffIds === undefined) throw reader.fail("it has no list of layers");
  const run = reader.findObject("config");
  return {
    platform: {
      os: reader.findString("os") ?? "",
      architecture: reader.findString("architecture") ?? "",
      variant: reader.findString("variant"),
    },
    diffIds: diffIds.map(parseDigest),
    user: run?.findString("User") ?? "",
    environment: run?.findStrings("Env", MAX_LIST) ?? [],
    workingDirectory: run?.findString("WorkingDir") ?? "",
    entrypoint: run?.findStrings("Entrypoint", MAX_LIST) ?? [],
    command: run?.findStrings("Cmd", MAX_LIST) ?? [],
    stopSignal: run?.findString("StopSignal"),
    labels: run?.findTexts("Labels") ?? new Map(),
  };
}
