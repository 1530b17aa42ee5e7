import { buildId, versionLine } from "../../base/build.ts";
import { type Command, flag } from "../command.ts";
import { fields, print, printJson, say } from "../output.ts";

const JSON_OPTION = { flags: "--json", summary: "as JSON" } as const;

const status: Command = {
  path: ["daemon", "status"],
  summary: "show whether the daemon runs",
  options: [JSON_OPTION],
  async run({ daemon, terminal }, input) {
    const client = await daemon.connectIfRunning();
    const version = client && await (await client.v1.version.$get()).json();
    if (flag(input, "json")) await printJson(terminal, version ?? null);
    else if (!version) {
      await print(terminal, "The daemon does not run; the next command that needs it starts it");
    } else {
      await print(
        terminal,
        fields([
          ["Version", `${version.version} (${version.commit}, built ${version.builtAt})`],
          ["Process", String(version.pid)],
          ["State", version.stateDirectory],
          ["Running operations", String(version.runningOperations)],
          ...(version.notices ?? []).map((notice) => ["Notice", notice] as const),
        ]),
      );
    }
    return version ? 0 : 1;
  },
};

const start: Command = {
  path: ["daemon", "start"],
  summary: "start the daemon where none runs",
  async run({ daemon }) {
    await daemon.connect();
    return 0;
  },
};

const stop: Command = {
  path: ["daemon", "stop"],
  summary: "stop the daemon; VMs run on",
  options: [{ flags: "-f, --force", summary: "cancel running operations" }],
  async run({ daemon, terminal }, input) {
    const hasStopped = await daemon.stop(flag(input, "force"));
    if (!hasStopped) await say(terminal, "banger: the daemon does not run");
    return 0;
  },
};

const logs: Command = {
  path: ["daemon", "logs"],
  summary: "print where the daemon's log is, and its last lines",
  async run({ daemon, processes, terminal }) {
    const { stdout } = await processes.run({ program: "tail", args: ["-n", "50", daemon.logPath] });
    await say(terminal, `banger: ${daemon.logPath}`);
    await print(terminal, stdout);
    return 0;
  },
};

const version: Command = {
  path: ["version"],
  summary: "print the version",
  options: [JSON_OPTION],
  async run({ build, terminal }, input) {
    if (flag(input, "json")) await printJson(terminal, { ...build, buildId: buildId(build) });
    else await print(terminal, versionLine(build));
    return 0;
  },
};

export const DAEMON_COMMANDS: readonly Command[] = [status, start, stop, logs, version];
