import { BangerError } from "../lib/base/errors.ts";
import type { Log } from "../lib/base/host.ts";
import type { Descriptors } from "./descriptor.ts";
import { resolveCommand, startCommand } from "./command.ts";
import { SIGNALS } from "../lib/guest/wire/exec.ts";
import { exitOf } from "./spawn.ts";
import { openStreams } from "./streams.ts";

export const BUSYBOX = "/run/banger/bin/busybox";

/**
 * Starts a clean shutdown by whatever runs this guest: systemd; the busybox that banger's initramfs left,
 * which signals the init; else the signal itself, as busybox and sysvinit's kin take it for "power off".
 */
export async function powerOff(descriptors: Descriptors, log: Log): Promise<void> {
  const argv = (await isThere("/run/systemd/system"))
    ? ["systemctl", "poweroff", "--no-block"]
    : (await isThere(BUSYBOX))
    ? [BUSYBOX, "poweroff"]
    : undefined;
  if (argv) {
    const code = await runQuietly(descriptors, argv);
    if (code === 0) return;
    log("warn", "power-off command failed", { argv, code });
  }
  descriptors.libc.call.kill(1, SIGNALS.SIGUSR2);
}

/** @returns its exit code; undefined where it did not start or a signal ended it */
export async function runQuietly(
  descriptors: Descriptors,
  argv: readonly string[],
): Promise<number | undefined> {
  const streams = openStreams(descriptors, {});
  try {
    const { libc, poller } = descriptors;
    const pid = startCommand(libc, resolveCommand(libc, { argv, user: "0" }), streams.child);
    const status = await exitOf(libc, poller, pid, () => {});
    return "code" in status ? status.code : undefined;
  } catch (failure) {
    if (failure instanceof BangerError) return undefined;
    throw failure;
  } finally {
    streams.closeChildSide();
    streams.close();
  }
}

async function isThere(path: string): Promise<boolean> {
  return await Deno.lstat(path).then(() => true, () => false);
}
