import { BangerError } from "../../base/errors.ts";
import { writeFully } from "../../base/bytes.ts";
import { type Command, type Context, flag, listOption, requiredArgument, textOption } from "../command.ts";
import { execInGuest } from "../exec.ts";
import { noCommand, runningEndpoint, SHELL_ARGV } from "./vm_lifecycle.ts";

const VM_ARGUMENT = { name: "vm", summary: "its name", completes: "vm" } as const;
const SSH_PORT = 22;
/** Whoever the image's commands run as: its keys are root's. */
const SSH_USER = "root";
const PROXY_BUFFER_BYTES = 64 * 1024;

async function getVm({ daemon }: Context, name: string) {
  const client = await daemon.connect();
  return await (await client.v1.vms[":name"].$get({ param: { name } })).json();
}

const exec: Command = {
  path: ["vm", "exec"],
  aliases: [["exec"]],
  summary: "run a command in a running VM",
  details:
    "Runs a command in a running VM. Standard streams and the exit code pass through; on a terminal the\n" +
    "command gets one. Ctrl-C goes to the command; a second one within two seconds leaves it.",
  arguments: [VM_ARGUMENT],
  trailing: "command…",
  options: [
    { flags: "-u, --user <user>", summary: "name or number, :group too (default: the image's, mostly root)" },
    { flags: "-w, --workdir <directory>", summary: "where it runs (default: the image's, mostly /root)" },
    { flags: "-e, --env <name=value>", summary: "a variable for it; may be repeated", repeated: true },
    { flags: "-t, --tty", summary: "give it a terminal even where ours is none" },
    { flags: "-T, --no-tty", summary: "give it none" },
  ],
  async run(context, input) {
    if (!input.trailing?.length) throw noCommand();
    const vm = await getVm(context, requiredArgument(input, 0));
    const workingDirectory = textOption(input, "workdir");
    const user = textOption(input, "user");
    const tty = input.options.tty;
    return await execInGuest(context, runningEndpoint(vm), {
      argv: input.trailing,
      environment: environmentOf(listOption(input, "env")),
      ...(user === undefined ? {} : { user }),
      ...(workingDirectory === undefined ? {} : { workingDirectory }),
      ...(typeof tty === "boolean" ? { terminal: tty } : {}),
    });
  },
};

/** @param pairs as flags have them: NAME=VALUE */
export function environmentOf(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(pairs.map((pair) => {
    const at = pair.indexOf("=");
    if (at > 0) return [pair.slice(0, at), pair.slice(at + 1)];
    throw new BangerError(
      "invalid_argument",
      `Cannot use ${JSON.stringify(pair)} for --env: it is not NAME=VALUE`,
    );
  }));
}

const ssh: Command = {
  path: ["vm", "ssh"],
  aliases: [["ssh"]],
  summary: "open a shell in a running VM",
  details:
    "Opens a shell in a running VM with the system's ssh, over banger's own stream: no port, no address.\n" +
    "With --agent, or where the image has no ssh server, the shell comes through the agent.",
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

async function hasSshServer(
  { guest }: Context,
  endpoint: ReturnType<typeof runningEndpoint>,
): Promise<boolean> {
  try {
    (await guest.connect(endpoint, SSH_PORT)).close();
    return true;
  } catch (thrown) {
    if (thrown instanceof BangerError && thrown.code === "connection_failed") return false;
    throw thrown;
  }
}

/** ssh's ProxyCommand: a port of the guest on stdin and stdout. */
const proxy: Command = {
  path: ["vm", "proxy"],
  summary: "connect stdin and stdout to a port of a running VM",
  details:
    "Connects standard input and output to a TCP port of a running VM, as ssh's ProxyCommand wants it.",
  arguments: [VM_ARGUMENT, { name: "port", summary: "a TCP port on the guest's loopback" }],
  async run(context, input) {
    const port = Number(requiredArgument(input, 1));
    if (!Number.isInteger(port) || port < 1 || port > 65535) {
      throw new BangerError(
        "invalid_argument",
        `Cannot use ${JSON.stringify(requiredArgument(input, 1))} as a port`,
      );
    }
    const vm = await getVm(context, requiredArgument(input, 0));
    const connection = await context.guest.connect(runningEndpoint(vm), port);
    try {
      void (async () => {
        const buffer = new Uint8Array(PROXY_BUFFER_BYTES);
        for (;;) {
          const count = await context.terminal.readStdin(buffer);
          if (count === null) return await connection.closeWrite();
          await writeFully((rest) => connection.write(rest), buffer.subarray(0, count));
        }
      })().catch(() => connection.close()); // the reading side then ends too
      const buffer = new Uint8Array(PROXY_BUFFER_BYTES);
      for (let count = await connection.read(buffer); count !== null; count = await connection.read(buffer)) {
        await context.terminal.writeStdout(buffer.subarray(0, count));
      }
      return 0;
    } finally {
      connection.close();
    }
  },
};

export const VM_ACCESS_COMMANDS: readonly Command[] = [exec, ssh, proxy];
