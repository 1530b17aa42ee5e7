import { realHost } from "../../lib/sys/host.ts";
import { runQmpCommands } from "../../lib/vmm/qemu/qmp.ts";
import type { Benchmark } from "./benchmark.ts";
import { timedMs } from "./benchmark.ts";
import { BANGER, removing, run, type ShownVm, showVm } from "./commands.ts";

const VM = "bench-exec";

/** The shortest way that ssh can have: a port of QEMU's own, opened while the machine runs. */
async function forwardSsh(vm: ShownVm): Promise<number> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  const command = { "command-line": `hostfwd_add net0 tcp:127.0.0.1:${port}-:22` };
  const socket = vm.agent.path.replace("agent.sock", "qmp.sock");
  await runQmpCommands(realHost(), socket, [{ name: "human-monitor-command", args: command }], {
    timeoutMs: 10_000,
  });
  return port;
}

export const exec: Benchmark = {
  name: "exec",
  summary: "`banger vm exec VM -- true`, against `ssh` to the same VM over QEMU's own port forwarding",
  maxRatio: 1 / 3,
  runs: 9,
  async prepare() {
    await using onFailure = new AsyncDisposableStack();
    onFailure.use(removing(VM));
    await run(BANGER, ["vm", "create", "--name", VM]);
    const vm = await showVm(VM);
    const port = await forwardSsh(vm);
    const ssh = [
      "-p",
      String(port),
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
      "root@127.0.0.1",
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
