import { type Command, type ConfigAccess, flag } from "../command.ts";
import { print, printJson, say, visible } from "../output.ts";

const JSON_OPTION = { flags: "--json", summary: "as JSON" } as const;
const USAGE_EXIT_CODE = 2;

const show: Command = {
  path: ["config", "show"],
  summary: "show every setting as it holds now",
  details:
    "Prints every setting as TOML, each with the line of the file that it comes from, or that it is built in.\n" +
    "Flags of a command win over the file, the file over what is built in.",
  options: [JSON_OPTION],
  async run({ config, terminal }, input) {
    const { configError, parseConfig } = await import("../../config/read.ts");
    const { renderSettings, settings } = await import("../../config/effective.ts");
    const parsed = parseConfig(await config.readText() ?? "");
    if ("problems" in parsed) throw configError(config.path, parsed.problems);
    const all = settings(parsed.config, parsed.lines);
    if (flag(input, "json")) {
      await printJson(terminal, all.map(({ path, ...rest }) => ({ key: path.join("."), ...rest })));
    } else {
      await print(terminal, `# ${await originOf(config)}\n\n${renderSettings(all)}`);
    }
    return 0;
  },
};

async function originOf(config: ConfigAccess): Promise<string> {
  const isThere = await config.readText() !== undefined;
  return isThere ? visible(config.path) : `${visible(config.path)} (no such file: all is built in)`;
}

const path: Command = {
  path: ["config", "path"],
  summary: "print where the configuration file is looked for",
  async run({ config, terminal }) {
    await print(terminal, config.path);
    return 0;
  },
};

const check: Command = {
  path: ["config", "check"],
  summary: "say what is wrong in the configuration file, line by line",
  details:
    "Checks the configuration file without the daemon. The exit code is 0 where nothing is wrong, else 2.",
  options: [JSON_OPTION],
  async run({ config, terminal }, input) {
    const { parseConfig, problemText } = await import("../../config/read.ts");
    const text = await config.readText();
    const parsed = parseConfig(text ?? "");
    const problems = "problems" in parsed ? parsed.problems : [];
    if (flag(input, "json")) await printJson(terminal, problems);
    else if (problems.length === 0) {
      await print(
        terminal,
        text === undefined ? `${config.path}: no such file, so nothing is wrong` : `${config.path}: fine`,
      );
    } else {
      for (const problem of problems) {
        await say(terminal, `banger: ${visible(config.path)}: ${visible(problemText(problem))}`);
        if (problem.hint) await say(terminal, `  ${visible(problem.hint)}`);
      }
    }
    return problems.length === 0 ? 0 : USAGE_EXIT_CODE;
  },
};

export const CONFIG_COMMANDS: readonly Command[] = [show, path, check];
