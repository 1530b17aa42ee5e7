/** Who a command runs as: the guest's /etc/passwd and /etc/group, read as every program there reads them. */
import { BangerError } from "../lib/base/errors.ts";
import { quote } from "../lib/base/names.ts";

export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  /** Beside `gid`. */
  readonly groups: readonly number[];
  readonly home: string;
  readonly shell: string;
}

export const ROOT_HOME = "/root";
export const DEFAULT_SHELL = "/bin/sh";
/** (uid_t) -1 means "unchanged" to the calls that take one. */
const MAX_ID = 0xffff_fffe;
const ROOT = { name: "root", uid: 0, gid: 0 } as const;

interface PasswdEntry {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
  readonly shell: string;
}

/**
 * As container engines do: a number need not be in the files, a name must; without a group the user's own and
 * those that list it, with one that alone.
 *
 * @param user `name`, `uid`, `name:group` or `uid:gid`
 * @param passwd content of /etc/passwd, empty where the image has none. Source: passwd(5)
 * @param group content of /etc/group. Source: group(5)
 * @throws {BangerError} `not_found` naming what the guest does not know
 */
export function accountOf(user: string, passwd: string, group: string): Account {
  const colon = user.indexOf(":");
  const userPart = colon < 0 ? user : user.slice(0, colon);
  const groupPart = colon < 0 ? undefined : user.slice(colon + 1);
  const entry = findUser(userPart, passwd);
  const isListed = "shell" in entry;
  const base = {
    name: entry.name,
    uid: entry.uid,
    home: (isListed && entry.home) || (entry.uid === 0 ? ROOT_HOME : "/"),
    shell: (isListed && entry.shell) || DEFAULT_SHELL,
  };
  if (groupPart) return { ...base, gid: findGroup(groupPart, group), groups: [] };
  return { ...base, gid: entry.gid, groups: isListed ? groupsListing(entry.name, group) : [] };
}

function findUser(user: string, passwd: string): PasswdEntry | Omit<PasswdEntry, "home" | "shell"> {
  const entries = parsePasswd(passwd);
  const uid = parseId(user);
  const entry = entries.find(({ name }) => name === user) ?? entries.find((entry) => entry.uid === uid);
  if (entry) return entry;
  if (user === ROOT.name || uid === 0) return ROOT;
  if (uid !== undefined) return { name: user, uid, gid: 0 };
  throw unknown("user", user, "/etc/passwd");
}

function findGroup(name: string, group: string): number {
  const gid = parseGroups(group).find((entry) => entry.name === name)?.gid ?? parseId(name);
  if (gid !== undefined) return gid;
  if (name === ROOT.name) return ROOT.gid;
  throw unknown("group", name, "/etc/group");
}

function unknown(kind: string, name: string, file: string): BangerError {
  return new BangerError(
    "not_found",
    `Cannot run a command as ${kind} ${quote(name)}: the guest's ${file} does not list it`,
    "Name another with --user, such as: --user root",
  );
}

function groupsListing(user: string, group: string): number[] {
  return parseGroups(group).filter(({ members }) => members.includes(user)).map(({ gid }) => gid);
}

function parsePasswd(passwd: string): PasswdEntry[] {
  return passwd.split("\n").flatMap((line) => {
    const [name, _password, uid, gid, _comment, home, shell, ...rest] = line.split(":");
    const [uidNumber, gidNumber] = [parseId(uid), parseId(gid)];
    if (!name || uidNumber === undefined || gidNumber === undefined || rest.length > 0) return [];
    if (home === undefined || shell === undefined) return [];
    return [{ name, uid: uidNumber, gid: gidNumber, home, shell }];
  });
}

function parseGroups(group: string): { name: string; gid: number; members: string[] }[] {
  return group.split("\n").flatMap((line) => {
    const [name, _password, gid, members, ...rest] = line.split(":");
    const number = parseId(gid);
    if (!name || number === undefined || members === undefined || rest.length > 0) return [];
    return [{ name, gid: number, members: members.split(",") }];
  });
}

function parseId(text: string | undefined): number | undefined {
  if (!text || !/^\d{1,10}$/.test(text)) return undefined;
  const id = Number(text);
  return id <= MAX_ID ? id : undefined;
}
