import { BangerError } from "../../base/errors.ts";
import { confirm } from "../confirm.ts";
import { type Command, type Context, flag, type Input } from "../command.ts";
import { print, printJson, say, visible } from "../output.ts";
import {
  type ByteText,
  findBlock,
  renderBlock,
  withBlock,
  withoutBlock,
} from "../ssh_config/managed_block.ts";
import {
  permissionProblem,
  readSshConfig,
  type SshConfigFile,
  writeSshConfig,
} from "../ssh_config/ssh_config_file.ts";

const YES_OPTION = { flags: "-y, --yes", summary: "write it without asking" } as const;
const NOT_CURRENT_EXIT_CODE = 1;

const install: Command = {
  path: ["ssh-config", "install"],
  summary: "let ssh, scp, sftp, rsync and editors reach VMs as NAME.vm",
  details:
    "Puts a few lines for all hosts *.vm in front of your ssh configuration, shows them first and asks. All\n" +
    "else in the file stays as it is, byte for byte. After that: ssh NAME.vm, scp FILE NAME.vm:, VS Code's\n" +
    "Remote SSH with the host NAME.vm. Run it again after banger has moved.",
  options: [YES_OPTION],
  async run(context, input) {
    const { files, path, settings } = context.sshConfig;
    const file = await readSshConfig(files, path);
    const lines = await settings();
    const wanted = withBlock(file.text, lines);
    if (wanted === file.text) {
      await say(context.terminal, `banger: ${path} is as it should be`);
      return 0;
    }
    const old = currentBlock(file.text);
    const shown = [
      ...old.map((line) => `- ${line}`),
      ...linesOf(renderBlock(lines, "\n")).map((line) => `+ ${line}`),
    ];
    return await change(context, input, file, wanted, shown);
  },
};

const uninstall: Command = {
  path: ["ssh-config", "uninstall"],
  summary: "take banger's lines out of the ssh configuration again",
  details: "Takes out what banger ssh-config install has put in, shows it first and asks. All else stays.",
  options: [YES_OPTION],
  async run(context, input) {
    const { files, path } = context.sshConfig;
    const file = await readSshConfig(files, path);
    const wanted = withoutBlock(file.text);
    if (wanted === file.text) {
      await say(context.terminal, `banger: ${path} has no lines of banger's`);
      return 0;
    }
    return await change(context, input, file, wanted, currentBlock(file.text).map((line) => `- ${line}`));
  },
};

async function change(
  context: Context,
  input: Input,
  file: SshConfigFile,
  wanted: ByteText,
  shown: readonly string[],
): Promise<number> {
  const { terminal } = context;
  const what = file.mode === undefined ? " (new)" : file.target === file.path ? "" : ` -> ${file.target}`;
  await print(terminal, [visible(`${file.path}${what}`), ...shown.map(visible)].join("\n"));
  if (!flag(input, "yes") && !(await confirm(context, "Write it?"))) {
    if (terminal.stdinIsTerminal && terminal.stderrIsTerminal) {
      await say(terminal, "banger: nothing was written");
      return NOT_CURRENT_EXIT_CODE;
    }
    throw new BangerError(
      "invalid_argument",
      "Cannot ask whether to write this: standard input is no terminal",
      "Add --yes where it is as it should be",
    );
  }
  await writeSshConfig(context.sshConfig.files, file, wanted);
  const problem = permissionProblem(file);
  if (problem) await say(terminal, `banger: ${problem}`);
  return 0;
}

const status: Command = {
  path: ["ssh-config", "status"],
  summary: "say whether ssh knows VMs as NAME.vm",
  details: "The exit code is 0 where it does with this banger, else 1.",
  options: [{ flags: "--json", summary: "as JSON" }],
  async run({ sshConfig, terminal }, input) {
    const file = await readSshConfig(sshConfig.files, sshConfig.path);
    const state = stateOf(file.text, await sshConfig.settings());
    const problem = permissionProblem(file);
    if (flag(input, "json")) {
      await printJson(terminal, { path: file.path, state, ...(problem ? { problem } : {}) });
    } else {
      await print(terminal, `${visible(file.path)}: ${STATE_TEXTS[state]}`);
      if (problem) await say(terminal, `banger: ${problem}`);
    }
    return state === "installed" ? 0 : NOT_CURRENT_EXIT_CODE;
  },
};

const STATE_TEXTS = {
  installed: "ssh knows VMs as NAME.vm",
  outdated: "ssh knows VMs as NAME.vm, but of another banger; renew it: banger ssh-config install",
  absent: "ssh does not know VMs; tell it: banger ssh-config install",
} as const;

function stateOf(text: ByteText, settings: readonly string[]): keyof typeof STATE_TEXTS {
  if (!findBlock(text)) return "absent";
  return withBlock(text, settings) === text ? "installed" : "outdated";
}

function currentBlock(text: ByteText): string[] {
  const found = findBlock(text);
  return found ? linesOf(text.slice(found.start, found.end)) : [];
}

function linesOf(text: ByteText): string[] {
  const decoded = new TextDecoder().decode(Uint8Array.from(text, (character) => character.charCodeAt(0)));
  return decoded.replace(/\r?\n$/, "").split(/\r?\n/);
}

export const SSH_CONFIG_COMMANDS: readonly Command[] = [install, status, uninstall];
