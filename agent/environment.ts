import type { ExecStart } from "../lib/guest/wire/exec.ts";
import type { Libc } from "./libc.ts";
import { readSmallFile } from "./small_files.ts";
import { GUEST_ENVIRONMENT_PATH } from "../lib/guest/wire/config.ts";

const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const DEFAULT_SHELL = "/bin/sh";
const ROOT_HOME = "/root";

export interface RootAccount {
  readonly home: string;
  readonly shell: string;
}

/** @param passwd content of /etc/passwd; empty where the image has none. Source: passwd(5) */
export function rootAccountOf(passwd: string): RootAccount {
  for (const line of passwd.split("\n")) {
    const fields = line.split(":");
    if (fields.length !== 7 || fields[2] !== "0") continue;
    return { home: fields[5] || ROOT_HOME, shell: fields[6] || DEFAULT_SHELL };
  }
  return { home: ROOT_HOME, shell: DEFAULT_SHELL };
}

/**
 * @param text KEY=VALUE lines as the config disk has them; a line without a name is left out
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
  account: RootAccount,
  machine: Readonly<Record<string, string>>,
): Record<string, string> {
  return {
    PATH: DEFAULT_PATH,
    HOME: account.home,
    USER: "root",
    LOGNAME: "root",
    SHELL: account.shell,
    LANG: "C.UTF-8",
    ...(start.terminal ? { TERM: start.terminal.term } : {}),
    ...machine,
    ...start.env,
  };
}

/** Read for each command: both may change while the machine runs. */
export function readEnvironmentSources(
  libc: Libc,
): { account: RootAccount; machine: Record<string, string> } {
  return {
    account: rootAccountOf(readSmallFile(libc, "/etc/passwd") ?? ""),
    machine: parseEnvironmentLines(readSmallFile(libc, GUEST_ENVIRONMENT_PATH) ?? ""),
  };
}
