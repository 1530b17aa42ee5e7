import { BangerError } from "../base/errors.ts";
import { EPOCH } from "../base/tree.ts";
import type { FoundImage } from "../oci/images.ts";
import type { ImageConfig as OciConfig } from "../oci/model/config.ts";
import type { ImageConfig } from "../store/records.ts";
import { PLAIN_CONFIG, type RootSource } from "./root_source.ts";

/** What the guest's shell can take (POSIX, "Name"); others would keep the machine from booting. */
const VARIABLE_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
const MAX_VALUE_LENGTH = 32 * 1024;

/**
 * An image that was found, as a root filesystem. Its disk depends on nothing but the digest and the content:
 * neither on when it was made nor on where it came from.
 *
 * @param digest of the manifest, or of a plain archive's bytes
 */
export function ociRoot(found: FoundImage, digest: string): RootSource {
  return {
    source: found.source,
    seed: digest,
    timestamp: EPOCH,
    fill: async (sink, progress, signal) => {
      const filled = await found.fill(sink, progress, signal);
      if (filled.digest !== digest) {
        throw new BangerError(
          "corrupt_data",
          `Cannot use ${found.source}: it was changed while it was read`,
          "Try again when nobody writes to it",
        );
      }
      return { root: filled.root, digest, config: imageConfig(found.config) };
    },
  };
}

/** How the image wants to be run; where it says nothing, as a developer expects a machine to be. */
function imageConfig(config: OciConfig | undefined): ImageConfig {
  if (config === undefined) return PLAIN_CONFIG;
  return {
    user: config.user || PLAIN_CONFIG.user,
    environment: { ...PLAIN_CONFIG.environment, ...environmentOf(config.environment) },
    workingDirectory: config.workingDirectory || PLAIN_CONFIG.workingDirectory,
    entrypoint: [...config.entrypoint],
    command: [...config.command],
  };
}

/** What does not fit a line, or has a name that no shell takes, is left out. */
function environmentOf(lines: readonly string[]): Record<string, string> {
  const environment = new Map<string, string>();
  for (const line of lines) {
    const at = line.indexOf("=");
    const [name, value] = [line.slice(0, Math.max(at, 0)), line.slice(at + 1)];
    // deno-lint-ignore no-control-regex
    const isUsable = VARIABLE_NAME.test(name) && !/[\u0000\r\n]/.test(value) &&
      value.length <= MAX_VALUE_LENGTH;
    if (isUsable) environment.set(name, value);
  }
  return Object.fromEntries(environment);
}
