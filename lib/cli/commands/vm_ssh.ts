import { BangerError } from "../../base/errors.ts";
import { writeFully } from "../../base/bytes.ts";
import type { Connection } from "../../base/host.ts";
import type { AgentEndpointView } from "../../api/contract.ts";
import { type Command, type Context, flag, requiredArgument } from "../command.ts";
import { execInGuest } from "../exec.ts";
import { getVm } from "./vm_access.ts";
import { runningEndpoint, SHELL_ARGV } from "./vm_lifecycle.ts";

const VM_ARGUMENT = { name: "vm", summary: "its name", completes: "vm" } as const;
const SSH_PORT = 22;
/** Whoever the image's commands run as: its keys are root's. */
const SSH_USER = "root";
const PROXY_BUFFER_BYTES = 64 * 1024;
/** As ssh knows VMs. */
const HOST_SUFFIX = ".vm";

const ssh: Command = {
  path: ["vm", "ssh"],
  aliases: [["ssh"]],
  summary: "open a shell in a running VM",
  details:
    "Opens a shell in a running VM with the system's ssh, over banger's own stream: no port, no address.\n" +
    "With --agent, or where the image has no ssh server, the shell comes through the agent.\n" +
    "For plain ssh, scp, sftp, rsync and editors: banger ssh-config install",
  arguments: [VM_ARGUMENT],
  trailing: "command…",
  options: [{ flags: "--agent", summary: "without ssh" }],
  async run(context, input) {
    const vm = await getVm(context, requiredArgument(input, 0));
    const endpoint = runningEndpoint(vm);
    if (flag(input, "agent") || !(await hasSshServer(context, endpoint))) {
      const command = input.trailing?.length ? ["/bin/sh", "-c", input.trailing.join(" ")] : SHELL_ARGV;
      return await execInGuest(context, endpoint, {
        argv: command,
        user: SSH_USER,
        isShell: !input.trailing?.length,
      });
    }
    const args = await context.sshArguments(vm, input.trailing ?? []);
    return await context.processes.inherit({ program: "ssh", args });
  },
};

async function hasSshServer(context: Context, endpoint: AgentEndpointView): Promise<boolean> {
  const connection = await findSshServer(context, endpoint);
  connection?.close();
  return connection !== undefined;
}

/** @returns undefined where the guest has no ssh server of its own */
async function findSshServer(
  { guest }: Context,
  endpoint: AgentEndpointView,
): Promise<Connection | undefined> {
  try {
    return await guest.connect(endpoint, SSH_PORT);
  } catch (thrown) {
    if (thrown instanceof BangerError && thrown.code === "connection_failed") return undefined;
    throw thrown;
  }
}

async function agentsSshServer(
  { guest }: Context,
  endpoint: AgentEndpointView,
  name: string,
): Promise<Connection> {
  try {
    return await guest.ssh(endpoint);
  } catch (thrown) {
    if (!(thrown instanceof BangerError && thrown.code === "not_found")) throw thrown;
    throw new BangerError(
      "guest_failed",
      `Cannot reach an ssh server in VM ${name}: its image has none, and its agent is of an older banger`,
      `Use the agent: banger vm ssh ${name}; a VM made from the renewed image has one`,
    );
  }
}

/** ssh's ProxyCommand: a port of the guest on stdin and stdout. */
const proxy: Command = {
  path: ["vm", "proxy"],
  summary: "connect stdin and stdout to a port of a running VM",
  details:
    "Connects standard input and output to a TCP port of a running VM, as ssh's ProxyCommand wants it. On\n" +
    "port 22 the agent's own ssh server answers where the VM has no other.",
  arguments: [
    { ...VM_ARGUMENT, summary: "its name, .vm behind it or not" },
    { name: "port", summary: "a TCP port on the guest's loopback" },
  ],
  async run(context, input) {
    const port = Number(requiredArgument(input, 1));
    if (!Number.isInteger(port) || port < 1 || port > 65535) {
      throw new BangerError(
        "invalid_argument",
        `Cannot use ${JSON.stringify(requiredArgument(input, 1))} as a port`,
      );
    }
    const name = requiredArgument(input, 0);
    const bare = name.endsWith(HOST_SUFFIX) ? name.slice(0, -HOST_SUFFIX.length) : name;
    const endpoint = runningEndpoint(await getVm(context, bare));
    const connection = port === SSH_PORT
      ? await findSshServer(context, endpoint) ?? await agentsSshServer(context, endpoint, bare)
      : await context.guest.connect(endpoint, port);
    await join(context, connection);
    return 0;
  },
};

/** Our stdin and stdout with a connection, until that ends. */
async function join({ terminal }: Context, connection: Connection): Promise<void> {
  try {
    void (async () => {
      const buffer = new Uint8Array(PROXY_BUFFER_BYTES);
      for (;;) {
        const count = await terminal.readStdin(buffer);
        if (count === null) return await connection.closeWrite();
        await writeFully((rest) => connection.write(rest), buffer.subarray(0, count));
      }
    })().catch(() => connection.close()); // the reading side then ends too
    const buffer = new Uint8Array(PROXY_BUFFER_BYTES);
    for (let count = await connection.read(buffer); count !== null; count = await connection.read(buffer)) {
      await terminal.writeStdout(buffer.subarray(0, count));
    }
  } finally {
    connection.close();
  }
}

export const VM_SSH_COMMANDS: readonly Command[] = [ssh, proxy];
