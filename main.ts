/**
 * The command line: builds the real outside world and runs one command. The only place that prints errors
 * and exits.
 */
import { buildId, type BuildStamp, takeBuildStamp } from "./lib/base/build.ts";
import { BangerError, firstFailure, reasonOf } from "./lib/base/errors.ts";
import type { Finding } from "./lib/base/finding.ts";
import type { Host } from "./lib/base/host.ts";
import type {
  Context,
  DaemonAccess,
  GuestAccess,
  SshConfigAccess,
  SupportAccess,
} from "./lib/cli/command.ts";
import { type Companion, materializeCompanion, removeOtherBuilds } from "./lib/cli/companions.ts";
import { daemonAccess } from "./lib/cli/daemon_access.ts";
import { say, visibleLines } from "./lib/cli/output.ts";
import { parseCommandLine } from "./lib/cli/parse.ts";
import { type Paths, resolvePaths, sshPaths, vmPaths } from "./lib/store/paths.ts";
import { realHost } from "./lib/sys/host.ts";
import { systemTerminal } from "./lib/sys/terminal.ts";
import { openTree } from "./lib/sys/tree_reader.ts";
import { openTreeWriter } from "./lib/sys/tree_writer.ts";
import { unixFetch } from "./lib/sys/unix_fetch.ts";
import type { GitEnvironment } from "./lib/workspace/git.ts";

const COMPANIONS: readonly Companion[] = ["bangerd", "banger-vsock-agent"];
/** For less, finding out whether there is a window costs more than it saves. */
const WINDOW_FROM_BYTES = 256 * 1024;
const terminal = systemTerminal();

/** Writes the companions out, and gives the daemon's command line. */
async function prepareDaemon({ files }: Host, build: BuildStamp, paths: Paths) {
  const directory = `${paths.binDirectory}/${buildId(build)}`;
  await files.makeDirectory(directory, 0o700);
  for (const companion of COMPANIONS) {
    // As the bundle that this becomes lies inside the executable.
    const tail = new URL(`../companions/${companion}.tail`, import.meta.url).pathname;
    await materializeCompanion(files, Deno.execPath(), tail, `${directory}/${companion}`);
  }
  await removeOtherBuilds(files, paths.binDirectory, buildId(build));
  return { program: `${directory}/bangerd`, args: [] };
}

/** The agent's client is loaded when a guest is reached for: most commands speak to the daemon only. */
function guestAccess(host: Host, paths: () => Paths): GuestAccess {
  const clientOf = async (endpoint: Parameters<GuestAccess["connect"]>[0]) => {
    const { AgentClient } = await import("./lib/guest/client/agent_client.ts");
    return new AgentClient(host, endpoint);
  };
  const windowOf = async (id: string) => {
    const { hostWindow } = await import("./lib/guest/client/host_window.ts");
    return hostWindow(host.files, vmPaths(paths(), id).configDisk);
  };
  return {
    connect: async (endpoint, port) => await (await clientOf(endpoint)).connect(port),
    ssh: async (endpoint) => await (await clientOf(endpoint)).ssh(),
    async sessions(endpoint) {
      const { sessionsOfGuest } = await import("./lib/guest/client/session_client.ts");
      return sessionsOfGuest(host, endpoint);
    },
    files({ id }, endpoint, user, signal) {
      const client = async () => {
        const { FileClient } = await import("./lib/guest/client/file_client.ts");
        return new FileClient(host, endpoint);
      };
      return {
        async send({ sizeBytes, ...file }, content) {
          const window = sizeBytes < WINDOW_FROM_BYTES ? undefined : await windowOf(id);
          const whole = { ...file, ...(user === undefined ? {} : { user }) };
          return await (await client()).send(whole, content, signal, { window });
        },
        open: async (path) => await (await client()).open(path, user, signal),
      };
    },
    async sendArchive({ id }, endpoint, path, content, signal) {
      const { FileClient } = await import("./lib/guest/client/file_client.ts");
      const name = path.slice(path.lastIndexOf("/") + 1);
      const file = { path, name, mode: 0o600, mtimeSeconds: 0, user: "root" };
      const options = { window: await windowOf(id), needsWindow: true };
      return await new FileClient(host, endpoint).send(file, content, signal, options);
    },
    async exec(endpoint, start) {
      const session = await (await clientOf(endpoint)).exec(start);
      const { exitCodeOf } = await import("./lib/guest/wire/exec.ts");
      return {
        finish: async (sink) => exitCodeOf(await session.finish(sink)),
        writeStdin: (bytes) => session.writeStdin(bytes),
        closeStdin: () => session.closeStdin(),
        resize: (size) => session.resize(size),
        signal: (name) => session.signal(name),
        [Symbol.dispose]: () => session.close(),
      };
    },
  };
}

function gitEnvironment(variable: (name: string) => string | undefined): GitEnvironment {
  const optional = ["XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL"] as const;
  const given = optional.map((name) => [name, variable(name)]).filter(([, value]) => value !== undefined);
  return { PATH: variable("PATH") ?? "", HOME: variable("HOME") ?? "/", ...Object.fromEntries(given) };
}

function sshConfigAccess({ files }: Host, home: string | undefined, paths: () => Paths): SshConfigAccess {
  if (!home?.startsWith("/")) {
    throw new BangerError(
      "invalid_argument",
      "Cannot find your ssh configuration: HOME is no absolute path",
    );
  }
  return {
    path: `${home}/.ssh/config`,
    files,
    settings: async () => {
      const { sshConfigLines } = await import("./lib/guest/ssh/config_block.ts");
      const { clientKey, knownHostsDirectory } = sshPaths(paths());
      return sshConfigLines({ identityPath: clientKey, knownHostsDirectory, executable: Deno.execPath() });
    },
  };
}

/** The daemon's executable in its other role: it may open what this one may not. */
async function runDoctor(
  host: Host,
  build: BuildStamp,
  paths: Paths,
  { fix }: { fix: boolean },
): Promise<Finding[]> {
  const { program } = await prepareDaemon(host, build, paths);
  const args = ["doctor", ...(fix ? ["--fix"] : [])];
  const { code, stdout, stderr } = await host.processes.run({ program, args });
  if (code === 0) return JSON.parse(stdout) as Finding[];
  throw new BangerError("internal", `Cannot look at this host: ${stderr.trim()}`);
}

async function supportAccess(host: Host, build: BuildStamp, paths: Paths): Promise<SupportAccess> {
  const { collectSupportFiles, packSupportFiles } = await import("./lib/support/bundle.ts");
  const doctor = () => runDoctor(host, build, paths, { fix: false });
  return {
    collect: () => collectSupportFiles({ host, paths, build, doctor }),
    pack: packSupportFiles,
    files: host.files,
  };
}

async function upgradeAccess(host: Host, { previousExecutable }: Paths) {
  const { systemHttpClient } = await import("./lib/sys/http.ts");
  return {
    host: { ...host, http: systemHttpClient() },
    places: { executable: Deno.execPath(), previous: previousExecutable, architecture: Deno.build.arch },
  };
}

function systemDaemon(host: Host, build: BuildStamp, paths: Paths): DaemonAccess {
  return daemonAccess(host, {
    build,
    runtimeDirectory: paths.runtimeDirectory,
    stateDirectory: paths.stateDirectory,
    logPath: paths.daemonLog,
    startLock: paths.startLock,
    uid: Deno.uid() ?? 0,
    command: () => prepareDaemon(host, build, paths),
    send: unixFetch(paths.daemonSocket),
    warn: (text) => say(terminal, `banger: ${text}`),
  });
}

function buildContext(build: BuildStamp): Context {
  const host = realHost();
  const environment = (name: string) => Deno.env.get(name);
  // Resolved when it is needed: help and version work without a home.
  let cached: Paths | undefined;
  const paths = () => cached ??= resolvePaths(environment, Deno.uid() ?? 0);
  return {
    build,
    terminal,
    clock: host.clock,
    processes: host.processes,
    guest: guestAccess(host, paths),
    get workspaceHost() {
      return {
        ...host,
        openTree,
        openTreeWriter,
        gitEnvironment: gitEnvironment(environment),
        stagingDirectory: paths().workspacesDirectory,
        exportsDirectory: paths().exportsDirectory,
        directoryOf: (vmId: string) => vmPaths(paths(), vmId).workspace,
      };
    },
    executable: Deno.execPath(),
    environment,
    absolutePath: (path) => path.startsWith("/") ? path : `${Deno.cwd()}/${path}`,
    sshArguments: async (vm, command) => {
      const { sshArguments } = await import("./lib/guest/ssh/client_arguments.ts");
      const { parseVmName } = await import("./lib/base/names.ts");
      return sshArguments({
        vmName: parseVmName(vm.name),
        identityPath: vm.ssh.identityFile,
        knownHostsPath: vm.ssh.knownHostsFile,
        proxyCommand: [Deno.execPath(), "vm", "proxy", vm.name, "22"],
      }, command);
    },
    get sshConfig() {
      return sshConfigAccess(host, environment("HOME"), paths);
    },
    doctor: (options) => runDoctor(host, build, paths(), options),
    unitFiles: host.files,
    support: () => supportAccess(host, build, paths()),
    upgrade: () => upgradeAccess(host, paths()),
    copyHost: { ...host, openTreeWriter, isRoot: Deno.uid() === 0 },
    get config() {
      const { configFile } = paths();
      return {
        path: configFile,
        readText: async () =>
          await (await import("./lib/config/read.ts")).readConfigText(host.files, configFile),
      };
    },
    get daemon() {
      return systemDaemon(host, build, paths());
    },
  };
}

async function main(): Promise<number> {
  const { build, args } = takeBuildStamp(Deno.args);
  const parsed = parseCommandLine(args);
  if (parsed.kind === "text") {
    const text = new TextEncoder().encode(parsed.text);
    await (parsed.exitCode === 0 ? terminal.writeStdout(text) : terminal.writeStderr(text));
    return parsed.exitCode;
  }
  return await parsed.command.run(buildContext(build), parsed.input);
}

async function printFailure(thrown: unknown): Promise<number> {
  const first = firstFailure(thrown);
  const error = first instanceof BangerError ? first : new BangerError("internal", reasonOf(first));
  await say(terminal, `banger: ${visibleLines(error.message)}`);
  if (error.hint) await say(terminal, visibleLines(error.hint).replaceAll(/^/gm, "  "));
  if ("commandExitCode" in error && typeof error.commandExitCode === "number") return error.commandExitCode;
  return error.exitCode;
}

let exitCode;
try {
  exitCode = await main();
} catch (thrown) {
  exitCode = await printFailure(thrown);
}
// A read of stdin may still be under way: nothing waits for it.
Deno.exit(exitCode);
