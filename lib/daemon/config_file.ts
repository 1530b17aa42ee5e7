import { parse, TomlError } from "smol-toml";
import { z } from "zod";
import { BangerError } from "../base/errors.ts";
import type { Files } from "../base/host.ts";
import type { VmmSettings } from "../vmm/drivers.ts";

const MAX_CONFIG_BYTES = 1024 * 1024;

const HOST = String.raw`(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::\d{1,5})?`;
const host = z.string().regex(new RegExp(`^${HOST}$`), "write host or host:port, without a scheme");
const place = z.string().regex(
  new RegExp(`^${HOST}(?:/[a-z0-9._-]+)*$`),
  "write host[:port][/path], without a scheme",
);

const configSchema = z.object({
  registries: z.object({
    /** Hosts, with their port, that are spoken to over plain HTTP. */
    insecure: z.array(host).default([]),
    /** Asked before the registry itself. */
    mirrors: z.array(z.object({ prefix: place, location: place }).strict()).default([]),
  }).strict().default({ insecure: [], mirrors: [] }),
  vmm: z.object({
    /** For VMs that ask for none. */
    driver: z.enum(["qemu", "firecracker"]).optional(),
    /** Where Firecracker is; default: on PATH. */
    firecracker: z.string().startsWith("/", "write an absolute path").optional(),
  }).strict().default({}),
}).strict();

/** What the user's `config.toml` says, defaults filled in. */
export type ConfigFile = z.infer<typeof configSchema>;

/**
 * Reads the user's configuration; a missing file is an empty one.
 *
 * @throws {BangerError} `invalid_argument` for what is no TOML, for unknown keys and bad values: nothing that a user
 * wrote is ignored
 */
export async function readConfigFile(
  files: Pick<Files, "stat" | "readText">,
  path: string,
): Promise<ConfigFile> {
  const text = await files.stat(path) === undefined ? "" : await files.readText(path, MAX_CONFIG_BYTES);
  const result = configSchema.safeParse(parseToml(text, path));
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const where = issue?.path.join(".");
  throw new BangerError(
    "invalid_argument",
    `Cannot use ${path}: ${where ? `${where}: ` : ""}${issue?.message ?? "it is not valid"}`,
    "It knows registries.insecure = [host] and [[registries.mirrors]] with prefix and location",
  );
}

/** What `config.toml` says of VMMs. */
export function vmmSettings({ vmm }: ConfigFile): VmmSettings {
  return { driver: vmm.driver, firecrackerProgram: vmm.firecracker };
}

function parseToml(text: string, path: string): unknown {
  try {
    return parse(text);
  } catch (thrown) {
    if (!(thrown instanceof TomlError)) throw thrown;
    throw new BangerError(
      "invalid_argument",
      `Cannot read ${path}: line ${thrown.line} is no TOML`,
      thrown.message.split("\n")[0],
    );
  }
}
