import assert from "node:assert/strict";
import type { Progress } from "../../../lib/base/host.ts";
import { AptFetcher } from "../../../lib/kernel/apt.ts";
import { realHost } from "../../../lib/sys/host.ts";

const PROGRAM = "vhost-device-vsock";
/** The first suite that has the package; 0.3.0 runs on Debian 12. */
const SUITE = "forky";
const QUIET: Progress = { stage: () => {}, update: () => {}, note: () => {} };

/**
 * The path of `vhost-device-vsock`: the one on PATH, else Debian's, fetched once into the user's cache through
 * the host's apt.
 */
export async function vhostDeviceVsock(): Promise<string> {
  const host = realHost();
  const installed = await host.processes.which(PROGRAM);
  if (installed) return installed;
  const cacheHome = Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME")}/.cache`;
  const directory = `${cacheHome}/banger-dev/${PROGRAM}`;
  const program = `${directory}/usr/bin/${PROGRAM}`;
  await host.files.makeDirectory(directory);
  await using _lock = await host.files.lock(`${directory}/lock`);
  if (await host.files.stat(program)) return program;
  const { signal } = new AbortController();
  const fetcher = new AptFetcher(host, `${directory}/apt`, SUITE);
  const deb = await fetcher.download(await fetcher.find(PROGRAM, signal), directory, QUIET, signal);
  const unpacked = await host.processes.run({ program: "dpkg-deb", args: ["-x", deb, directory] });
  assert.equal(unpacked.code, 0, `cannot unpack ${deb}: ${unpacked.stderr}`);
  return program;
}
