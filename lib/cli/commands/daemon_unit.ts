import { BangerError } from "../../base/errors.ts";
import { type Command, type Context, flag } from "../command.ts";
import { print, say, visible } from "../output.ts";

const UNIT = "banger.service";
/** The first line: what banger may overwrite and remove. */
const MARK = "# Written by: banger daemon unit --install";
const MAX_UNIT_BYTES = 64 * 1024;

/**
 * A systemd user unit. `KillMode=process` ends the daemon alone: machines and their relays are in its control group
 * and must outlive it. A unit's environment is bare, so what decides about places and registries is written down.
 *
 * @param executable absolute
 * @param environment of the shell that asks
 * Exported for tests.
 * Source: systemd.service(5), systemd.kill(5), systemd.syntax(7)
 */
export function daemonUnit(executable: string, environment: readonly (readonly [string, string])[]): string {
  return [
    MARK,
    "[Unit]",
    "Description=banger: virtual machines",
    "",
    "[Service]",
    "Type=oneshot",
    "RemainAfterExit=yes",
    ...environment.map(([name, value]) => `Environment=${quoted(`${name}=${value}`)}`),
    `ExecStart=${quoted(executable, true)} daemon start`,
    `ExecStop=${quoted(executable, true)} daemon stop`,
    "# VMs run on when this unit stops: only what it started itself is ended.",
    "KillMode=process",
    "SendSIGKILL=no",
    "TimeoutStopSec=120",
    "",
    "[Install]",
    "WantedBy=default.target",
    "",
  ].join("\n");
}

/** `%` begins a specifier everywhere; `$` a variable in a command line. */
function quoted(text: string, isCommand = false): string {
  if (/[\r\n\0]/.test(text)) {
    throw new BangerError(
      "invalid_argument",
      `Cannot write ${visible(text)} into a unit: it has a line break`,
    );
  }
  const escaped = text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("%", "%%");
  return `"${isCommand ? escaped.replaceAll("$", "$$$$") : escaped}"`;
}

/** Those that say where banger's files are, and its tools. Empty is as unset: as in the shell that asks. */
const KEPT_VARIABLES = [
  "PATH",
  "HOME",
  "XDG_RUNTIME_DIR",
  "XDG_CONFIG_HOME",
  "XDG_STATE_HOME",
  "XDG_CACHE_HOME",
] as const;

function unitText({ environment, executable }: Context): string {
  const kept = KEPT_VARIABLES.map((name) => [name, environment(name) ?? ""] as const);
  return daemonUnit(executable, kept);
}

function unitPath({ environment }: Context): string {
  const home = environment("HOME");
  const config = environment("XDG_CONFIG_HOME") ?? (home === undefined ? undefined : `${home}/.config`);
  if (config?.startsWith("/")) return `${config}/systemd/user/${UNIT}`;
  throw new BangerError("invalid_argument", "Cannot find a place for the unit: HOME is no absolute path");
}

/** @returns undefined where there is none. @throws {BangerError} `already_exists` for one that is not ours */
async function readOwn({ unitFiles }: Context, path: string): Promise<string | undefined> {
  if (await unitFiles.realPath(path) === undefined) return undefined;
  const text = await unitFiles.readText(path, MAX_UNIT_BYTES);
  if (text.startsWith(`${MARK}\n`)) return text;
  throw new BangerError("already_exists", `Cannot change ${path}: banger did not write it`, "Move it away");
}

const unit: Command = {
  path: ["daemon", "unit"],
  summary: "a systemd user unit that starts the daemon with your session",
  details:
    "Prints the unit. Nobody needs one: the first command starts the daemon, and VMs run on without it. With it names\n" +
    "and ports of VMs are there from your log-in on. --install writes it into your own systemd directory and --remove\n" +
    "takes it away; enabling stays with you. VMs outlive a stop of the unit.",
  options: [
    { flags: "--install", summary: "write it to ~/.config/systemd/user" },
    { flags: "--remove", summary: "remove what --install wrote" },
  ],
  async run(context, input) {
    const { terminal, unitFiles } = context;
    const [isInstall, isRemove] = [flag(input, "install"), flag(input, "remove")];
    if (isInstall && isRemove) {
      throw new BangerError("invalid_argument", "Cannot install and remove at once");
    }
    if (!isInstall && !isRemove) {
      await print(terminal, unitText(context));
      return 0;
    }
    const path = unitPath(context);
    const before = await readOwn(context, path);
    if (isRemove) {
      await unitFiles.remove(path);
      await say(terminal, before === undefined ? `banger: ${path} is not there` : `banger: removed ${path}`);
      if (before !== undefined) await say(terminal, "  systemctl --user daemon-reload");
      return 0;
    }
    const text = unitText(context);
    if (before !== text) {
      await unitFiles.makeDirectory(path.slice(0, path.lastIndexOf("/")));
      await unitFiles.writeAtomic(path, text, 0o644);
    }
    await print(terminal, path);
    const next = `systemctl --user daemon-reload && systemctl --user enable --now ${UNIT}`;
    await say(terminal, `banger: ${before === text ? "it is there already" : "written"}. Then: ${next}`);
    return 0;
  },
};

export const DAEMON_UNIT_COMMANDS: readonly Command[] = [unit];
