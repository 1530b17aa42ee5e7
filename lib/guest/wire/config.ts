/**
 * `config.json` at the root of the config tar: what banger tells a machine about itself for this boot. The
 * host writes it, the agent reads it at `/run/banger/config.json`.
 */
import { BangerError } from "../../base/errors.ts";

export const GUEST_CONFIG_PATH = "/run/banger/config.json";
/** Where KEY=VALUE lines for every command lie; see `lib/guest/config`. */
export const GUEST_ENVIRONMENT_PATH = "/run/banger/environment";

export interface GuestConfig {
  /** Raised when an older agent could not understand it. */
  readonly schemaVersion: 1;
  readonly vmId: string;
  /** Also the host name: a DNS label. */
  readonly vmName: string;
  /** How commands start where the request says nothing else: what the image's own configuration asks for. */
  readonly defaults: {
    /** `name`, `uid`, `name:group` or `uid:gid`. */
    readonly user: string;
    /** Absolute. */
    readonly workingDirectory: string;
    /** The program that the image is for; empty where it has none. */
    readonly entrypoint: readonly string[];
    readonly command: readonly string[];
  };
}

/**
 * @param value parsed JSON from the config disk; unknown fields are left out, so a newer host may add some
 * @throws {BangerError} `corrupt_data` naming the first field that is wrong
 */
function parseGuestConfig(value: unknown): GuestConfig {
  const config = record(value, "the whole");
  if (config.schemaVersion !== 1) throw wrong("schemaVersion", "this agent knows 1 only");
  const defaults = record(config.defaults, "defaults");
  const workingDirectory = text(defaults.workingDirectory, "defaults.workingDirectory");
  if (!workingDirectory.startsWith("/")) throw wrong("defaults.workingDirectory", "it is not absolute");
  return {
    schemaVersion: 1,
    vmId: text(config.vmId, "vmId"),
    vmName: text(config.vmName, "vmName"),
    defaults: {
      user: text(defaults.user, "defaults.user"),
      workingDirectory,
      entrypoint: texts(defaults.entrypoint, "defaults.entrypoint"),
      command: texts(defaults.command, "defaults.command"),
    },
  };
}

/**
 * As `parseGuestConfig`, from the file's text.
 *
 * @throws {BangerError} `corrupt_data`
 */
export function parseGuestConfigText(json: string): GuestConfig {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw new BangerError("corrupt_data", "Cannot read the machine's config.json: it is no JSON", undefined, {
      cause,
    });
  }
  return parseGuestConfig(value);
}

function record(value: unknown, field: string): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw wrong(field, "it is no object");
}

function text(value: unknown, field: string): string {
  if (typeof value !== "string" || value === "") throw wrong(field, "it is no text");
  if (value.includes("\0")) throw wrong(field, "it has a NUL character");
  return value;
}

function texts(value: unknown, field: string): string[] {
  if (!Array.isArray(value)) throw wrong(field, "it is no list");
  return value.map((item, index) => {
    // An empty argument is a legal one.
    if (item === "") return "";
    return text(item, `${field}[${index}]`);
  });
}

function wrong(field: string, why: string): BangerError {
  return new BangerError("corrupt_data", `Cannot use ${field} of the machine's config.json: ${why}`);
}
