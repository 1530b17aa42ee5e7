import { BangerError, reasonOf } from "../../lib/base/errors.ts";
import { EXEC_FRAME, type ExecStart, SIGNALS, type Terminal } from "../../lib/guest/wire/exec.ts";
import { CommandFailure, loginOf } from "../command.ts";
import { startRunning } from "../exec.ts";
import type { RunningCommand } from "../running_command.ts";
import type { Channel, ChannelHandler } from "./channel.ts";
import type { ConnectionContext } from "./connection.ts";
import { SftpChannel } from "./sftp/channel.ts";
import { SshReader } from "./wire.ts";

/** What a client may set, as Debian's sshd has it, and whether colours may be many. */
const ACCEPTED_VARIABLES = /^(?:LANG|LC_[A-Z]+|COLORTERM|NO_COLOR)$/;
const MAX_VARIABLES = 64;
/** Of a client that has no size. */
const DEFAULT_ROWS = 24;
const DEFAULT_COLUMNS = 80;
const NOT_STARTED = 125;
const SIGNAL_NAMES = new Map(
  Object.entries(SIGNALS).map(([name, number]) => [number as number, name.slice(3)]),
);

/** A shell, a command or a subsystem. Source: RFC 4254, section 6 */
export class SessionChannel implements ChannelHandler {
  readonly #context: ConnectionContext;
  readonly #channel: Channel;
  readonly #env: Record<string, string> = {};
  #terminal: Terminal | undefined;
  #command: RunningCommand | undefined;
  #sftp: SftpChannel | undefined;
  #hasStarted = false;
  /** Came before the command has begun. */
  #hasEof = false;

  constructor(context: ConnectionContext, channel: Channel) {
    this.#context = context;
    this.#channel = channel;
  }

  data(data: Uint8Array): void {
    this.#command?.takeStdin(data);
    this.#sftp?.data(data);
  }

  eof(): void {
    this.#hasEof = true;
    this.#command?.endStdin();
    this.#sftp?.eof();
  }

  closed(): void {
    this.#command?.release();
    this.#sftp?.closed();
  }

  request(type: string, payload: Uint8Array): boolean | (() => void) {
    const reader = new SshReader(payload);
    switch (type) {
      case "pty-req":
        return this.#takeTerminal(reader);
      case "env":
        return this.#takeVariable(reader.text(), reader.text());
      case "shell":
        return this.#start([]);
      case "exec":
        return this.#start([reader.text()]);
      case "subsystem":
        return reader.text() === "sftp" && this.#startSftp();
      case "window-change": {
        const [columns, rows] = [reader.u32(), reader.u32()];
        if (rows > 0 && rows < 65536 && columns > 0 && columns < 65536) {
          this.#command?.resize({ rows, columns });
        }
        return true;
      }
      case "signal": {
        const name = `SIG${reader.text()}`;
        if (!Object.hasOwn(SIGNALS, name)) return false;
        this.#command?.signal(SIGNALS[name as keyof typeof SIGNALS]);
        return this.#command !== undefined;
      }
      default:
        // Agents and displays of the user's are not for guests, and clients know what to do without the rest.
        return false;
    }
  }

  #takeTerminal(reader: SshReader): boolean {
    const [term, columns, rows] = [reader.text(), reader.u32(), reader.u32()];
    const sane = (count: number, fallback: number) => count > 0 && count < 65536 ? count : fallback;
    this.#terminal = {
      term: /^[A-Za-z0-9][A-Za-z0-9+._-]{0,63}$/.test(term) ? term : "dumb",
      rows: sane(rows, DEFAULT_ROWS),
      columns: sane(columns, DEFAULT_COLUMNS),
    };
    return !this.#hasStarted;
  }

  #takeVariable(name: string, value: string): boolean {
    const isTaken = ACCEPTED_VARIABLES.test(name) && !value.includes("\0") &&
      Object.keys(this.#env).length < MAX_VARIABLES;
    if (isTaken) this.#env[name] = value;
    return isTaken;
  }

  /** @param command one text for the user's shell; none for the shell itself */
  #start(command: readonly string[]): false | (() => void) {
    if (this.#hasStarted) return false;
    this.#hasStarted = true;
    const { descriptors, user } = this.#context;
    return () => {
      try {
        const { shell, home } = loginOf(descriptors.libc, user);
        const start: ExecStart = {
          argv: command.length > 0 ? [shell, "-c", ...command] : [],
          user,
          cwd: home,
          env: { ...this.#env, SSH_CONNECTION: "127.0.0.1 0 127.0.0.1 22", SSH_CLIENT: "127.0.0.1 0 22" },
          ...(this.#terminal ? { terminal: this.#terminal } : {}),
        };
        this.#run(startRunning(descriptors, start, {
          output: (type, buffer, count) =>
            this.#channel.send(buffer.space.subarray(0, count), type === EXEC_FRAME.stderr),
          window: (bytes) => this.#channel.grant(bytes),
        }));
      } catch (failure) {
        this.#fail(failure);
      }
    };
  }

  #run(command: RunningCommand): void {
    this.#command = command;
    if (this.#hasEof) command.endStdin();
    if (this.#channel.isGone) command.release();
    void command.finish().then(
      (status) =>
        this.#end(
          "code" in status ? status : { signalName: SIGNAL_NAMES.get(status.signal) ?? `${status.signal}` },
        ),
      (failure) => {
        this.#context.log("debug", "an ssh command's client has gone", { reason: reasonOf(failure) });
        command.release();
        return this.#end({ code: NOT_STARTED });
      },
    ).catch((failure) => this.#context.log("debug", "an ssh client has gone", { reason: reasonOf(failure) }));
  }

  /** As a shell says it: a line on stderr, and an exit code. */
  #fail(failure: unknown): void {
    const code = failure instanceof CommandFailure ? failure.commandExitCode : NOT_STARTED;
    if (!(failure instanceof BangerError)) this.#context.log("error", "an ssh command failed", { failure });
    const text = new TextEncoder().encode(`banger: ${reasonOf(failure)}\r\n`);
    void this.#channel.send(text, true).then(() => this.#end({ code })).catch((reason) =>
      this.#context.log("debug", "an ssh client has gone", { reason: reasonOf(reason) })
    );
  }

  #startSftp(): boolean {
    if (this.#hasStarted) return false;
    this.#hasStarted = true;
    const { descriptors, user, log } = this.#context;
    const sftp = new SftpChannel(descriptors, user, this.#channel, log);
    this.#sftp = sftp;
    void sftp.run().then(
      () => this.#end({ code: 0 }),
      (failure) => {
        log("debug", "sftp ended", { reason: reasonOf(failure) });
        return this.#end({ code: 1 });
      },
    ).catch((failure) => log("debug", "an ssh client has gone", { reason: reasonOf(failure) }));
    return true;
  }

  async #end(status: { readonly code: number } | { readonly signalName: string }): Promise<void> {
    await this.#channel.sendEof();
    await this.#channel.sendExit(status);
    await this.#channel.close();
  }
}
