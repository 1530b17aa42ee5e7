import type { ExecStart } from "../lib/guest/wire/exec.ts";
import {
  GUEST_CONFIG_PATH,
  GUEST_ENVIRONMENT_PATH,
  type GuestConfig,
  parseGuestConfigText,
} from "../lib/guest/wire/config.ts";
import { type Account, accountOf, ROOT_HOME } from "./accounts.ts";
import type { Libc } from "./libc.ts";
import { readSmallFile } from "./small_files.ts";

const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

type Defaults = Pick<GuestConfig["defaults"], "user" | "workingDirectory">;

/** Of a machine whose config disk says nothing. */
const PLAIN_DEFAULTS: Defaults = { user: "root", workingDirectory: ROOT_HOME };

/**
 * @param text KEY=VALUE lines as the config disk has them; a line without a name is left out
 * Exported for tests.
 */
export function parseEnvironmentLines(text: string): Record<string, string> {
  const variables: Record<string, string> = {};
  for (const line of text.split("\n")) {
    const equals = line.indexOf("=");
    if (equals > 0 && !line.startsWith("#")) variables[line.slice(0, equals)] = line.slice(equals + 1);
  }
  return variables;
}

/** What a command gets: a login's variables, then the machine's, then the request's. */
export function commandEnvironment(
  start: Pick<ExecStart, "env" | "terminal">,
  account: Pick<Account, "name" | "home" | "shell">,
  machine: Readonly<Record<string, string>>,
): Record<string, string> {
  return {
    PATH: DEFAULT_PATH,
    HOME: account.home,
    USER: account.name,
    LOGNAME: account.name,
    SHELL: account.shell,
    LANG: "C.UTF-8",
    ...(start.terminal ? { TERM: start.terminal.term } : {}),
    ...machine,
    ...start.env,
  };
}

/** What a command starts with that its request does not say. */
export interface Surroundings {
  readonly account: Account;
  /** KEY=VALUE of the machine's configuration. */
  readonly machine: Readonly<Record<string, string>>;
  /** The image's own; it need not exist. */
  readonly workingDirectory: string;
}

/**
 * Read for each command: all of it may change while the machine runs.
 *
 * @param user where the request names one
 * @throws {BangerError} `not_found` for a user that the guest does not know; `corrupt_data`
 */
export function readSurroundings(libc: Libc, user: string | undefined): Surroundings {
  const text = (path: string) => readSmallFile(libc, path) ?? "";
  const config = readSmallFile(libc, GUEST_CONFIG_PATH);
  const defaults = config === undefined ? PLAIN_DEFAULTS : parseGuestConfigText(config).defaults;
  return {
    account: accountOf(user ?? defaults.user, text("/etc/passwd"), text("/etc/group")),
    machine: parseEnvironmentLines(text(GUEST_ENVIRONMENT_PATH)),
    workingDirectory: defaults.workingDirectory,
  };
}
