import type { Benchmark } from "./benchmark.ts";
import { timedMs } from "./benchmark.ts";
import { BANGER, read, removing, run, showVm } from "./commands.ts";

const VM = "bench-exec";

/** The shortest way that ssh can have: the VM's forwarded port. */
async function forwardedSsh(): Promise<{ hostAddress: string; hostPort: number }> {
  for (const deadlineMs = performance.now() + 120_000;;) {
    const { ports } = JSON.parse(await read(BANGER, ["vm", "ports", VM, "--json"])) as {
      ports: { guestPort: number; hostAddress: string; hostPort: number }[];
    };
    const ssh = ports.find(({ guestPort }) => guestPort === 22);
    if (ssh) return ssh;
    if (performance.now() > deadlineMs) throw new Error("no ssh server in the VM within two minutes");
  }
}

export const exec: Benchmark = {
  name: "exec",
  summary: "`banger vm exec VM -- true`, against `ssh` to the same VM over its forwarded port",
  maxRatio: 1 / 3,
  runs: 9,
  async prepare() {
    await using onFailure = new AsyncDisposableStack();
    onFailure.use(removing(VM));
    await run(BANGER, ["vm", "create", "--name", VM]);
    const vm = await showVm(VM);
    const { hostAddress, hostPort } = await forwardedSsh();
    const ssh = [
      "-p",
      String(hostPort),
      "-i",
      vm.ssh.identityFile,
      "-F",
      "none",
      "-o",
      "BatchMode=yes",
      "-o",
      "StrictHostKeyChecking=yes",
      "-o",
      `UserKnownHostsFile=${vm.ssh.knownHostsFile}`,
      "-o",
      `HostKeyAlias=${vm.ssh.hostKeyAlias}`,
      `root@${hostAddress}`,
      "true",
    ];
    const deadlineMs = performance.now() + 120_000;
    while (!(await run("ssh", ssh).then(() => true, () => false))) {
      if (performance.now() > deadlineMs) throw new Error("no ssh server in the VM within two minutes");
    }
    const owned = onFailure.move();
    return {
      pair: async () => ({
        oursMs: await timedMs(() => run(BANGER, ["vm", "exec", VM, "--", "true"])),
        peerMs: await timedMs(() => run("ssh", ssh)),
      }),
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    };
  },
};
