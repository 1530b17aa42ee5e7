import { ARCHITECTURES } from "../lib/base/architecture.ts";
import type { Account } from "./accounts.ts";
import { checked, type Libc } from "./libc.ts";

const SYSCALLS = ARCHITECTURES[Deno.build.arch].systemCalls;

/**
 * Does something as another user, and is root again. The kernel's own calls, unlike the C library's, change
 * the calling thread only: no other thread of this process is ever anything but root.
 *
 * The saved user id stays root's, which is the way back; a program that is executed in between gets a copy of
 * the effective one instead (execve(2)), and with it neither capabilities nor a way back.
 *
 * @throws {LibcError}
 */
export function asUser<T>(
  libc: Libc,
  { uid, gid, groups }: Pick<Account, "uid" | "gid" | "groups">,
  act: () => T,
): T {
  if (uid === 0 && gid === 0 && groups.length === 0) return act();
  try {
    setGroups(libc, groups);
    setIds(libc, "setresgid", gid, gid, gid);
    setIds(libc, "setresuid", uid, uid, 0);
    return act();
  } finally {
    setIds(libc, "setresuid", 0, 0, 0);
    setIds(libc, "setresgid", 0, 0, 0);
    setGroups(libc, []);
  }
}

function setGroups(libc: Libc, groups: readonly number[]): void {
  const list = new Uint8Array(Uint32Array.from(groups).buffer);
  const result = Number(libc.call.setgroups(SYSCALLS.setgroups, BigInt(groups.length), list));
  checked(libc, "setgroups", result);
}

function setIds(
  libc: Libc,
  call: "setresuid" | "setresgid",
  real: number,
  effective: number,
  saved: number,
): void {
  const result = libc.call.setresid(SYSCALLS[call], BigInt(real), BigInt(effective), BigInt(saved));
  checked(libc, call, Number(result));
}
