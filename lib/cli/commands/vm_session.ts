import { BangerError } from "../../base/errors.ts";
import { formatBytes, parseSizeBytes } from "../../base/units.ts";
import { attachToSession, DEFAULT_DETACH_KEY, parseDetachKey, sinkOf } from "../attach.ts";
import {
  type Command,
  type Context,
  flag,
  type Input,
  listOption,
  requiredArgument,
  textOption,
} from "../command.ts";
import { INTERRUPTED_EXIT_CODE } from "../exec.ts";
import { exitText, type GuestSessions, type SessionSink, type SessionView } from "../guest_sessions.ts";
import { age, print, printJson, say, table } from "../output.ts";
import { PrintableStream } from "../printable_stream.ts";
import { environmentOf } from "./vm_access.ts";
import { noCommand, runningEndpoint } from "./vm_lifecycle.ts";

const VM_ARGUMENT = { name: "vm", summary: "its name", completes: "vm" } as const;
const SESSION_ARGUMENT = { name: "session", summary: "its name, as vm session list shows it" } as const;
const DETACH_OPTION = {
  flags: "--detach-key <key>",
  summary: `what leaves a session on a terminal (default: ${DEFAULT_DETACH_KEY})`,
} as const;
const READ_BYTES = 256 * 1024;

async function sessionsOf({ daemon, guest }: Context, input: Input): Promise<GuestSessions> {
  const client = await daemon.connect();
  const name = requiredArgument(input, 0);
  const vm = await (await client.v1.vms[":name"].$get({ param: { name } })).json();
  return await guest.sessions(runningEndpoint(vm));
}

function detachKey(input: Input): number | undefined {
  return parseDetachKey(textOption(input, "detachKey") ?? DEFAULT_DETACH_KEY);
}

const start: Command = {
  path: ["vm", "session", "start"],
  summary: "start a command that goes on without you",
  details:
    "Starts a command in a running VM that goes on when you, your terminal or the daemon go. What it prints\n" +
    "is kept in the VM (the newest 8 MiB). Prints the session's name. With --attach you see it at once.",
  arguments: [VM_ARGUMENT],
  trailing: "command…",
  options: [
    { flags: "-n, --name <name>", summary: "the session's name (default: from the command's)" },
    { flags: "-a, --attach", summary: "attach to it at once" },
    { flags: "-u, --user <user>", summary: "name or number, :group too (default: the image's, mostly root)" },
    { flags: "-w, --workdir <directory>", summary: "where it runs (default: the image's, mostly /root)" },
    { flags: "-e, --env <name=value>", summary: "a variable for it; may be repeated", repeated: true },
    { flags: "-t, --tty", summary: "give it a terminal (default: with --attach on a terminal)" },
    { flags: "-T, --no-tty", summary: "give it none" },
    DETACH_OPTION,
  ],
  async run(context, input) {
    if (!input.trailing?.length) throw noCommand();
    const { terminal } = context;
    const key = detachKey(input);
    const [name, user, cwd] = ["name", "user", "workdir"].map((option) => textOption(input, option));
    const isAttaching = flag(input, "attach");
    const isInteractive = isAttaching && terminal.stdinIsTerminal && terminal.stdoutIsTerminal;
    const hasTerminal = typeof input.options.tty === "boolean" ? input.options.tty : isInteractive;
    const sessions = await sessionsOf(context, input);
    const view = await sessions.start({
      argv: input.trailing,
      env: environmentOf(listOption(input, "env")),
      ...(name === undefined ? {} : { name }),
      ...(user === undefined ? {} : { user }),
      ...(cwd === undefined ? {} : { cwd }),
      ...(hasTerminal ? { terminal: { ...terminal.size(), term: terminal.type } } : {}),
    });
    if (isAttaching) return await attachToSession(context, sessions, view, key);
    await print(terminal, view.name);
    return 0;
  },
};

const list: Command = {
  path: ["vm", "session", "list"],
  aliases: [["vm", "session", "ls"]],
  summary: "list a VM's sessions",
  arguments: [VM_ARGUMENT],
  options: [{ flags: "--json", summary: "as JSON" }],
  async run(context, input) {
    const views = await (await sessionsOf(context, input)).list();
    if (flag(input, "json")) await printJson(context.terminal, views);
    else await print(context.terminal, sessionTable(views, context.clock.now()));
    return 0;
  },
};

function sessionTable(views: readonly SessionView[], nowMs: number): string {
  return table(
    ["NAME", "STATE", "USER", "STARTED", "OUTPUT", "ATTACHED", "COMMAND"],
    views.map((view) => [
      view.name,
      exitText(view),
      view.user,
      `${age(view.startedAt, nowMs)} ago`,
      formatBytes(view.outputBytes),
      String(view.attachedClients),
      view.command.length > 60 ? `${view.command.slice(0, 60)}…` : view.command,
    ]),
  );
}

const attach: Command = {
  path: ["vm", "session", "attach"],
  summary: "see and steer a running session",
  details:
    "Shows what a session has printed and what it prints, and passes on what you type, until it ends (its\n" +
    "exit code is banger's) or you leave it: with the detach key on a terminal, else with Ctrl-C. The end of\n" +
    "your input does not end the session's. Several can be attached; the last to attach sets the size.",
  arguments: [VM_ARGUMENT, SESSION_ARGUMENT],
  options: [DETACH_OPTION],
  async run(context, input) {
    const key = detachKey(input);
    const sessions = await sessionsOf(context, input);
    return await attachToSession(context, sessions, await find(sessions, requiredArgument(input, 1)), key);
  },
};

async function find(sessions: GuestSessions, name: string): Promise<SessionView> {
  const view = (await sessions.list()).find((session) => session.name === name);
  if (view) return view;
  throw new BangerError(
    "not_found",
    `Cannot find session ${JSON.stringify(name)} in the VM`,
    "List them: banger vm session list VM",
  );
}

const send: Command = {
  path: ["vm", "session", "send"],
  summary: "send text to a session's standard input",
  details:
    "Sends the text and a line break, or without a text its own standard input, to a session. What one call\n" +
    "sends stays together (up to 256 KiB), however many send at once. It returns once the command has taken it.",
  arguments: [VM_ARGUMENT, SESSION_ARGUMENT, { name: "text", summary: "a line to send", optional: true }],
  options: [{ flags: "--end", summary: "then end the session's standard input" }],
  async run(context, input) {
    const sessions = await sessionsOf(context, input);
    const name = requiredArgument(input, 1);
    const text = input.arguments[2];
    const isEnd = flag(input, "end");
    if (text !== undefined) {
      await sessions.send(name, new TextEncoder().encode(`${text}\n`), isEnd);
      return 0;
    }
    await sendStdin(context, sessions, name, isEnd);
    return 0;
  },
};

async function sendStdin(
  { terminal }: Context,
  sessions: GuestSessions,
  name: string,
  isEnd: boolean,
): Promise<void> {
  const buffer = new Uint8Array(READ_BYTES);
  for (let filled = 0;;) {
    const count = await terminal.readStdin(buffer.subarray(filled));
    filled += count ?? 0;
    // As much as may stay together goes at once; a user who types sees each line arrive.
    if (count !== null && filled < buffer.length && !terminal.stdinIsTerminal) continue;
    if (filled > 0 || (count === null && isEnd)) {
      await sessions.send(name, buffer.subarray(0, filled), count === null && isEnd);
    }
    if (count === null) return;
    filled = 0;
  }
}

const logs: Command = {
  path: ["vm", "session", "logs"],
  summary: "print what a session has printed",
  details:
    "Prints what is kept of a session's output, its standard error to ours. On a terminal colours stay, and\n" +
    "whatever else would steer it goes; elsewhere the bytes are as they were printed.",
  arguments: [VM_ARGUMENT, SESSION_ARGUMENT],
  options: [
    { flags: "-f, --follow", summary: "and what it prints, until it ends" },
    { flags: "--tail <size>", summary: "only so much of the end, such as 64K" },
    { flags: "--raw", summary: "as it was printed, on a terminal too" },
  ],
  async run(context, input) {
    const { terminal } = context;
    const sessions = await sessionsOf(context, input);
    const tail = textOption(input, "tail");
    using attached = await sessions.attach(requiredArgument(input, 1), {
      isFollowing: flag(input, "follow"),
      ...(tail === undefined ? {} : { tailBytes: parseSizeBytes(tail) }),
    });
    const left = Promise.withResolvers<number>();
    using _interrupt = terminal.onSignal("SIGINT", () => left.resolve(INTERRUPTED_EXIT_CODE));
    const printing = attached.finish(flag(input, "raw") ? sinkOf(context) : printableSink(context));
    try {
      return await Promise.race([printing.then(() => 0), left.promise]);
    } catch (thrown) {
      // How it ended is for attach to say; what it printed was asked for.
      if (!(thrown instanceof BangerError && "commandExitCode" in thrown)) throw thrown;
      await say(terminal, `banger: ${thrown.message}`);
      return 0;
    }
  },
};

function printableSink(context: Context): SessionSink {
  const { terminal } = context;
  const sink = sinkOf(context);
  const through = (write: (bytes: Uint8Array) => Promise<void>) => {
    const stream = new PrintableStream();
    return (bytes: Uint8Array) => write(new TextEncoder().encode(stream.push(bytes)));
  };
  return {
    ...sink,
    stdout: terminal.stdoutIsTerminal ? through(sink.stdout) : sink.stdout,
    stderr: terminal.stderrIsTerminal ? through(sink.stderr) : sink.stderr,
  };
}

const stop: Command = {
  path: ["vm", "session", "stop"],
  summary: "end a session",
  details:
    "Asks a session's command, and all in its process group, to end (SIGTERM; SIGHUP where it has a terminal),\n" +
    "and kills them after five seconds. Returns once it has ended. Its output stays until vm session rm.",
  arguments: [VM_ARGUMENT, { ...SESSION_ARGUMENT, repeated: true }],
  options: [{ flags: "-f, --force", summary: "kill it at once" }],
  async run(context, input) {
    const sessions = await sessionsOf(context, input);
    for (const name of input.arguments.slice(1)) {
      if (name === undefined) continue;
      const view = await sessions.stop(name, flag(input, "force"));
      await say(context.terminal, `banger: session ${view.name}: ${exitText(view)}`);
    }
    return 0;
  },
};

const remove: Command = {
  path: ["vm", "session", "rm"],
  summary: "forget ended sessions and what they printed",
  arguments: [VM_ARGUMENT, { ...SESSION_ARGUMENT, repeated: true }],
  options: [{ flags: "-f, --force", summary: "stop those that run, first" }],
  async run(context, input) {
    const sessions = await sessionsOf(context, input);
    for (const name of input.arguments.slice(1)) {
      if (name === undefined) continue;
      if (flag(input, "force")) await sessions.stop(name, false);
      await sessions.remove(name);
    }
    return 0;
  },
};

export const VM_SESSION_COMMANDS: readonly Command[] = [start, list, attach, send, logs, stop, remove];
