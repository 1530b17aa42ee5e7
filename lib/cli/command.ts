import type { ApiClient } from "../api/client.ts";
import type { AgentEndpointView, VmView } from "../api/contract.ts";
import type { BuildStamp } from "../base/build.ts";
import type { Finding } from "../base/finding.ts";
import type { Clock, Connection, Files, Processes } from "../base/host.ts";
import type { Terminal } from "../base/terminal.ts";
import type { UpgradeHost, UpgradePlaces } from "./upgrade.ts";
import type { GuestFiles } from "../copy/guest_side.ts";
import type { HostSide } from "../copy/host_side.ts";
import type { GuestSessions } from "./guest_sessions.ts";
import type { WorkspaceHost } from "../workspace/workspaces.ts";

/** One verb of the command line. Help, completion and the reference derive from these values. */
export interface Command {
  /** `["vm", "create"]` */
  readonly path: readonly string[];
  /** Other ways to say it, as whole paths. */
  readonly aliases?: readonly (readonly string[])[];
  readonly summary: string;
  /** More help: what a reader needs beyond the summary. */
  readonly details?: string;
  readonly arguments?: readonly Argument[];
  readonly options?: readonly Option[];
  /** What stands behind `--` is a command for the guest: shown in the usage, given as `trailing`. */
  readonly trailing?: string;
  readonly hidden?: boolean;
  /** @returns the exit code */
  run(context: Context, input: Input): Promise<number>;
}

export interface Argument {
  readonly name: string;
  readonly summary: string;
  readonly optional?: boolean;
  /** What shell completion offers. */
  readonly completes?: Completes;
  /** All values that it takes, for completion. */
  readonly choices?: readonly string[];
  readonly repeated?: boolean;
}

export type Completes = "vm" | "removed-vm" | "image" | "kernel" | "file" | "vm-path" | "operation";

export interface Option {
  /** As commander writes them: `-n, --name <name>` */
  readonly flags: string;
  readonly summary: string;
  /** May be given more than once; the values come as a list. */
  readonly repeated?: boolean;
  /** What shell completion offers for its value, where `choices` does not say it. */
  readonly completes?: Completes;
  /** All values that it takes, for completion. */
  readonly choices?: readonly string[];
}

export interface Input {
  /** In the order of `arguments`; a missing optional one is undefined. */
  readonly arguments: readonly (string | undefined)[];
  /** By the long flag's name in camel case. */
  readonly options: Readonly<Record<string, string | boolean | readonly string[] | undefined>>;
  /** Undefined where no `--` was written. */
  readonly trailing?: readonly string[];
}

/** What commands work with; `main.ts` builds it. */
export interface Context {
  readonly build: BuildStamp;
  readonly terminal: Terminal;
  readonly clock: Clock;
  readonly processes: Pick<Processes, "run" | "inherit">;
  readonly guest: GuestAccess;
  /** What the user's repository is read with: by the command line itself, as the user. */
  readonly workspaceHost: WorkspaceHost;
  readonly daemon: DaemonAccess;
  readonly config: ConfigAccess;
  /** The host's side of `vm cp`. */
  readonly copyHost: HostSide & { readonly isRoot: boolean };
  readonly sshConfig: SshConfigAccess;
  /** This executable, for ssh's ProxyCommand. */
  readonly executable: string;
  readonly environment: (name: string) => string | undefined;
  /** As the user wrote it, from the current directory. */
  readonly absolutePath: (path: string) => string;
  /** Looks at the host and at banger's own state, without a daemon. */
  readonly doctor: (options: { fix: boolean }) => Promise<Finding[]>;
  /** For a systemd unit of the user's. */
  readonly unitFiles: Pick<Files, "realPath" | "readText" | "writeAtomic" | "makeDirectory" | "remove">;
  /** What `banger support bundle` works with. */
  readonly support: () => Promise<SupportAccess>;
  /** What `banger upgrade` works with. */
  readonly upgrade: () => Promise<{ host: UpgradeHost; places: UpgradePlaces }>;
  /** Arguments of the system's ssh for a VM. */
  readonly sshArguments: (vm: VmView, command: readonly string[]) => Promise<string[]>;
}

export interface DaemonAccess {
  /** Starts the daemon where none runs, and replaces one of another build that is idle. */
  connect(): Promise<ApiClient>;
  /** @returns undefined where none runs */
  connectIfRunning(): Promise<ApiClient | undefined>;
  /** Asks it to end and waits until it has. @returns false where none runs */
  stop(force: boolean): Promise<boolean>;
  readonly logPath: string;
}

/** The user's configuration, read where the command line runs. */
export interface ConfigAccess {
  readonly path: string;
  /** @returns undefined where there is no file */
  readText(): Promise<string | undefined>;
}

/** What helps others to find out what went wrong. */
export interface SupportAccess {
  /** Masked already. */
  collect(): Promise<readonly SupportFile[]>;
  pack(files: readonly SupportFile[]): Uint8Array;
  readonly files: Pick<Files, "stat" | "writeAtomic">;
}

export interface SupportFile {
  readonly name: string;
  /** For the user, in a few words. */
  readonly what: string;
  readonly text: string;
}

/** The user's own ssh configuration. */
export interface SshConfigAccess {
  readonly path: string;
  readonly files: Pick<Files, "stat" | "readBytes" | "writeAtomic" | "makeDirectory" | "realPath" | "remove">;
  /** The lines that make VMs known. */
  settings(): Promise<string[]>;
}

/** The direct way into a guest, past the daemon. */
export interface GuestAccess {
  exec(endpoint: AgentEndpointView, start: ExecStart): Promise<ExecSession>;
  connect(endpoint: AgentEndpointView, port: number): Promise<Connection>;
  /** The agent's own ssh server. */
  ssh(endpoint: AgentEndpointView): Promise<Connection>;
  sessions(endpoint: AgentEndpointView): Promise<GuestSessions>;
  /** Single files, as that user. */
  files(
    vm: Pick<VmView, "id">,
    endpoint: AgentEndpointView,
    user: string | undefined,
    signal: AbortSignal,
  ): GuestFiles;
  /**
   * Puts a file of root's into the guest, the fast way or not at all.
   *
   * @returns false, and nothing has happened, where there is no such way
   */
  sendArchive(
    vm: Pick<VmView, "id">,
    endpoint: AgentEndpointView,
    path: string,
    content: () => AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<boolean>;
}

export interface ExecStart {
  /** Empty for the user's login shell. */
  readonly argv: readonly string[];
  readonly user?: string;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly terminal?: { readonly rows: number; readonly columns: number; readonly term: string };
}

export interface ExecSession extends Disposable {
  /** Takes all output until the command's end. @returns its exit code, or 128 + signal */
  finish(sink: OutputSink): Promise<number>;
  writeStdin(bytes: Uint8Array): Promise<void>;
  closeStdin(): Promise<void>;
  resize(size: { readonly rows: number; readonly columns: number }): Promise<void>;
  signal(name: "SIGINT" | "SIGTERM" | "SIGHUP"): Promise<void>;
}

export interface OutputSink {
  stdout(bytes: Uint8Array): Promise<void>;
  stderr(bytes: Uint8Array): Promise<void>;
}

/** A flag's value where it takes one. */
export function textOption(input: Input, name: string): string | undefined {
  const value = input.options[name];
  return typeof value === "string" ? value : undefined;
}

export function flag(input: Input, name: string): boolean {
  return input.options[name] === true;
}

export function listOption(input: Input, name: string): readonly string[] {
  const value = input.options[name];
  return Array.isArray(value) ? value as readonly string[] : [];
}

/** A required argument: the parser has seen to it that it is there. */
export function requiredArgument(input: Input, index: number): string {
  return input.arguments[index] ?? "";
}
