/** Docker itself on a kernel: Debian's docker.io in a guest with systemd, its containers, networks and limits. */
import { BOOKWORM_SUITE, bookwormLines, hostSources } from "../../lib/image/recipes/debian_bookworm.ts";
import { realHost } from "../../lib/sys/host.ts";
import { BANGER, removing, run, runBanger } from "../bench/commands.ts";
import { stopCleanly } from "../../tests/smoke/clean_stop.ts";
import { type Feature, parseFeatures } from "./features.ts";

const SCRIPT = new URL("docker_check.sh", import.meta.url).pathname;
/** Docker loads a profile of its own where the kernel has AppArmor, as Debian's has. */
const PACKAGES = ["systemd-sysv", "dbus", "kmod", "iproute2", "iptables", "apparmor", "docker.io"];

/** command:Debian package */
export const DOCKER_TOOLS = [["mmdebstrap", "mmdebstrap"]] as const;

/** @returns the path of a tar, from the configured Debian mirror */
async function makeDockerTar(directory: string): Promise<string> {
  const tar = `${directory}/docker.tar`;
  await run("mmdebstrap", [
    "--quiet",
    "--variant=minbase",
    `--include=${PACKAGES.join(",")}`,
    "--dpkgopt=force-unsafe-io",
    '--aptopt=Acquire::Languages "none"',
    BOOKWORM_SUITE,
    tar,
    ...bookwormLines(await hostSources(realHost())),
  ]);
  return tar;
}

/** @param say told what is going on */
export async function checkDocker(
  kernel: string,
  stateDirectory: string,
  directory: string,
  say: (text: string) => void,
): Promise<Feature[]> {
  const own = `kernel-check-${Deno.pid}`;
  say("making an image with Debian's docker.io");
  const tar = await makeDockerTar(directory);
  await using ends = new AsyncDisposableStack();
  await run(BANGER, ["image", "pull", "--quiet", "--name", own, "--size", "6G", `tar:${tar}`]);
  await Deno.remove(tar);
  ends.defer(() => run(BANGER, ["image", "rm", own]));
  await run(BANGER, ["vm", "create", "--name", own, "--image", own, "--kernel", kernel, "--quiet"]);
  ends.use(removing(own));
  say("running Docker in a VM of it");
  await run(BANGER, ["vm", "cp", SCRIPT, `${own}:/var/tmp/docker_check.sh`]);
  const features = parseFeatures(
    await runBanger(["vm", "exec", own, "--", "sh", "/var/tmp/docker_check.sh"]),
  );
  await stopCleanly(runBanger, stateDirectory, own, directory);
  return features;
}
