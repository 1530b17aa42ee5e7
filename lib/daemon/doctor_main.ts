import { buildId, type BuildStamp } from "../base/build.ts";
import { BangerError } from "../base/errors.ts";
import type { Finding } from "../base/finding.ts";
import type { Host } from "../base/host.ts";
import { CHECKS } from "../doctor/checks.ts";
import { type Check, diagnose, type DoctorWorld, findingOf, repairAll } from "../doctor/diagnosis.ts";
import { resolvePaths } from "../store/paths.ts";
import { readConfig } from "../config/read.ts";
import type { Self } from "./daemon_main.ts";

const MAX_PASSWD_BYTES = 4 * 1024 * 1024;
const ALL_CHECKS: Readonly<Record<string, Check>> = { ...CHECKS, configuration: checkConfiguration };

/**
 * `bangerd doctor`: looks at the host and at banger's own state. No daemon is needed, and one that runs is not
 * disturbed. The command line starts it, since only this executable may look at devices and the kernel's files.
 *
 * @param args `--fix` repairs what is offered, and gives the findings after it
 */
export async function doctorMain(
  host: Host,
  build: BuildStamp,
  self: Pick<Self, "uid" | "architecture" | "environment">,
  args: readonly string[],
): Promise<Finding[]> {
  const world: DoctorWorld = {
    host,
    paths: resolvePaths(self.environment, self.uid),
    uid: self.uid,
    architecture: self.architecture,
    buildId: buildId(build),
    builtAt: build.builtAt,
    userName: await userNameOf(host, self.uid),
  };
  const before = await diagnose(world, ALL_CHECKS);
  if (!args.includes("--fix")) return before.map(findingOf);
  const failures = await repairAll(before);
  return [...(await diagnose(world, ALL_CHECKS)).map(findingOf), ...failures];
}

async function checkConfiguration({ host, paths }: DoctorWorld): Promise<Finding[]> {
  const check = "configuration";
  try {
    await readConfig(host.files, paths.configFile);
  } catch (thrown) {
    if (!(thrown instanceof BangerError)) throw thrown;
    return [{
      check,
      severity: "error",
      found: thrown.message,
      ...(thrown.hint === undefined ? {} : { remedy: thrown.hint }),
    }];
  }
  const exists = await host.files.stat(paths.configFile) !== undefined;
  return [{ check, severity: "ok", found: exists ? paths.configFile : "none; the defaults apply" }];
}

/** @returns the id as text where the user database does not know it */
async function userNameOf({ files }: Pick<Host, "files">, uid: number): Promise<string> {
  const lines = (await files.readText("/etc/passwd", MAX_PASSWD_BYTES)).split("\n");
  const entry = lines.map((line) => line.split(":")).find((fields) => fields[2] === String(uid));
  return entry?.[0] ?? String(uid);
}
