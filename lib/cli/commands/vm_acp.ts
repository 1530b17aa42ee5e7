import type { VmView } from "../../api/contract.ts";
import { BangerError } from "../../base/errors.ts";
import { AcpBridge, MessageLines } from "../acp.ts";
import { type Command, type Context, type ExecSession, flag, type Input, textOption } from "../command.ts";
import { INTERRUPTED_EXIT_CODE } from "../exec.ts";
import { say } from "../output.ts";
import { getVm } from "./vm_access.ts";
import { runningEndpoint } from "./vm_lifecycle.ts";

/** Where `vm run` puts the user's repository. */
const DEFAULT_CWD = "/root/repo";
const READ_BYTES = 64 * 1024;

const acp: Command = {
  path: ["vm", "acp"],
  summary: "let an editor talk to a coding agent in a VM",
  details:
    "Runs a coding agent in a running VM and passes the messages of the Agent Client Protocol between it and\n" +
    "the editor that has started this command. Sessions work in --cwd, whatever the editor says. The agent gets\n" +
    "neither the editor's files nor its terminals: it has the VM's.\n" +
    "Without a VM the only one that runs; without a command acp.command of config.toml.",
  arguments: [{ name: "vm", summary: "its name", completes: "vm", optional: true }],
  trailing: "command…",
  options: [
    { flags: "-w, --cwd <directory>", summary: `where it works in the VM (default: ${DEFAULT_CWD})` },
    {
      flags: "-u, --user <user>",
      summary: "name or number, :group too (default: root; with --cwd the image's)",
    },
    { flags: "--mcp-servers", summary: "pass on the MCP servers that the editor names, and their secrets" },
  ],
  async run(context, input) {
    const { terminal } = context;
    const own = textOption(input, "cwd");
    const cwd = own ?? DEFAULT_CWD;
    // The repository is root's, whoever the image's own program runs as.
    const user = textOption(input, "user") ?? (own === undefined ? "root" : undefined);
    const argv = input.trailing?.length ? input.trailing : await configuredCommand(context);
    const endpoint = runningEndpoint(await chooseVm(context, input));
    using session = await context.guest.exec(endpoint, {
      argv,
      cwd,
      ...(user === undefined ? {} : { user }),
    });
    const bridge = new AcpBridge({
      cwd,
      keepsMcpServers: flag(input, "mcpServers"),
      warn: (text) => void say(terminal, `banger: ${text}`),
    });
    return await pass(context, session, bridge);
  },
};

async function configuredCommand({ config }: Context): Promise<readonly string[]> {
  const { configError, parseConfig } = await import("../../config/read.ts");
  const parsed = parseConfig(await config.readText() ?? "");
  if ("problems" in parsed) throw configError(config.path, parsed.problems);
  const { command } = parsed.config.acp;
  if (command) return command;
  throw new BangerError(
    "invalid_argument",
    "Cannot start an agent: no command is named",
    `Write it behind --, or into ${config.path}:\n[acp]\ncommand = ["my-agent", "--acp"]`,
  );
}

async function chooseVm(context: Context, input: Input): Promise<VmView> {
  const name = input.arguments[0];
  if (name !== undefined) return await getVm(context, name);
  const client = await context.daemon.connect();
  const running = await (await client.v1.vms.$get({ query: {} })).json();
  const [only, ...others] = running.filter(({ agent }) => agent !== undefined);
  if (only && others.length === 0) return only;
  throw new BangerError(
    "invalid_argument",
    only ? "Cannot choose a VM: several run" : "Cannot choose a VM: none runs",
    only ? `Name one: ${[only, ...others].map((vm) => vm.name).join(", ")}` : "Start one: banger vm run",
  );
}

async function pass(context: Context, session: ExecSession, bridge: AcpBridge): Promise<number> {
  const { terminal } = context;
  const left = Promise.withResolvers<number>();
  using _interrupt = terminal.onSignal("SIGINT", () => left.resolve(INTERRUPTED_EXIT_CODE));
  using _terminate = terminal.onSignal("SIGTERM", () => left.resolve(INTERRUPTED_EXIT_CODE));
  const encode = (line: string) => new TextEncoder().encode(`${line}\n`);
  void fromEditor(context, session, bridge).catch(() => {}); // the session's own end says what went wrong
  const lines = new MessageLines();
  const finishing = session.finish({
    async stdout(bytes) {
      for (const line of lines.push(bytes)) {
        const { toEditor, toGuest } = bridge.fromGuest(line);
        if (toEditor !== undefined) await terminal.writeStdout(encode(toEditor));
        // Not waited for: an agent that does not read must not keep its own messages.
        if (toGuest !== undefined) void session.writeStdin(encode(toGuest)).catch(() => {}); // it has ended
      }
    },
    stderr: terminal.writeStderr,
  });
  return await Promise.race([finishing, left.promise]);
}

async function fromEditor({ terminal }: Context, session: ExecSession, bridge: AcpBridge): Promise<void> {
  const lines = new MessageLines();
  const buffer = new Uint8Array(READ_BYTES);
  for (let count; (count = await terminal.readStdin(buffer)) !== null;) {
    for (const line of lines.push(buffer.subarray(0, count))) {
      await session.writeStdin(new TextEncoder().encode(`${bridge.fromEditor(line)}\n`));
    }
  }
  await session.closeStdin();
}

export const VM_ACP_COMMANDS: readonly Command[] = [acp];
