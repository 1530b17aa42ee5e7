import { BangerError } from "../../base/errors.ts";
import { type Command, type Context, listOption, requiredArgument, textOption } from "../command.ts";
import { execInGuest } from "../exec.ts";
import { noCommand, runningEndpoint } from "./vm_lifecycle.ts";

const VM_ARGUMENT = { name: "vm", summary: "its name", completes: "vm" } as const;

export async function getVm({ daemon }: Context, name: string) {
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

export const VM_ACCESS_COMMANDS: readonly Command[] = [exec];
