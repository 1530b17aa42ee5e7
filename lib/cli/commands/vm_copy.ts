import { BangerError } from "../../base/errors.ts";
import { formatBytes } from "../../base/units.ts";
import type { CopyEnd } from "../../copy/copy.ts";
import type { Received } from "../../copy/receive.ts";
import { type Command, type Context, flag, requiredArgument, textOption } from "../command.ts";
import { QUIET_OPTION, withProgressLine } from "../progress.ts";
import { runningEndpoint } from "./vm_lifecycle.ts";

const BUFFER_BYTES = 256 * 1024;

const copyCommand: Command = {
  path: ["vm", "cp"],
  aliases: [["cp"]],
  summary: "copy files and trees into a VM, out of one, or between two",
  details:
    `Copies a file or a tree as cp -r does: VM:PATH is in a running VM, - a tar on standard input or output, all
else is on this host (write ./a:b for a name with a colon). Relative paths in a VM start where its commands run,
mostly /root. Into a directory that is there it goes under its own name; DIR/. means what is in DIR.

Modes, times of files, links and names of any bytes are kept. Files belong to whoever copies: on this host you, in a VM
the user that commands run as; with --archive owners are kept by their numbers. What is new appears once it is
whole. Out of a VM nothing gets a setuid bit or becomes a device, and nothing is written outside the target.

  banger vm cp ./src web:/root/        banger vm cp web:/var/log/syslog .
  banger vm cp web:/etc - | tar t      tar c . | banger vm cp - web:/srv`,
  arguments: [
    { name: "from", summary: "VM:PATH, PATH or -", completes: "vm-path" },
    { name: "to", summary: "VM:PATH, PATH or -", completes: "vm-path" },
  ],
  options: [
    { flags: "-a, --archive", summary: "keep owners by their numbers; on this host that takes root" },
    {
      flags: "-u, --user <user>",
      summary: "who reads and writes in the VM (default: the image's, mostly root)",
    },
    QUIET_OPTION,
  ],
  async run(context, input) {
    const { copy } = await import("../../copy/copy.ts");
    const { parsePlace } = await import("../../copy/places.ts");
    const places = [parsePlace(requiredArgument(input, 0)), parsePlace(requiredArgument(input, 1))] as const;
    const keepsOwners = flag(input, "archive");
    if (keepsOwners && places[1].kind === "host" && !context.copyHost.isRoot) throw needsRoot();
    const ended = new AbortController();
    const stop = () =>
      ended.abort(new BangerError("cancelled", "Cannot finish the copy: it was interrupted"));
    using _interrupt = context.terminal.onSignal("SIGINT", stop);
    using _terminate = context.terminal.onSignal("SIGTERM", stop);
    const user = textOption(input, "user") ?? (keepsOwners ? "root" : undefined);
    const end = (place: typeof places[number]) => copyEnd(context, place, user, ended.signal);
    const [from, to] = [await end(places[0]), await end(places[1])];
    if (to.kind === "stream" && context.terminal.stdoutIsTerminal) throw tarOnTerminal();
    const isQuiet = flag(input, "quiet");
    try {
      await withProgressLine(context, isQuiet, async (progress) => {
        progress.stage("copying");
        let passedBytes = 0;
        const onProgress = (bytes: number) => progress.update(passedBytes = bytes);
        const options = { keepsOwners, onProgress, signal: ended.signal };
        const received = await copy(context.copyHost, from, to, options);
        progress.note(`copied ${formatBytes(received?.bytes ?? passedBytes)}`);
        for (const note of received ? notes(received) : []) progress.note(note);
      });
    } catch (thrown) {
      ended.signal.throwIfAborted();
      throw thrown;
    }
    return 0;
  },
};

async function copyEnd(
  context: Context,
  place: ReturnType<typeof import("../../copy/places.ts").parsePlace>,
  user: string | undefined,
  signal: AbortSignal,
): Promise<CopyEnd> {
  if (place.kind === "host") return { kind: "host", path: context.absolutePath(place.path) };
  if (place.kind === "stream") {
    return {
      kind: "stream",
      read: () => readStdin(context),
      write: (bytes) => context.terminal.writeStdout(bytes),
    };
  }
  const { vm: name, path } = place;
  const client = await context.daemon.connect();
  const vm = await (await client.v1.vms[":name"].$get({ param: { name } })).json();
  const endpoint = runningEndpoint(vm);
  return {
    kind: "guest",
    vm: vm.name,
    path,
    files: context.guest.files(vm, endpoint, user, signal),
    async start(argv) {
      signal.throwIfAborted();
      const session = await context.guest.exec(endpoint, { argv, ...(user === undefined ? {} : { user }) });
      // A guest that says nothing more does not keep us from leaving.
      signal.addEventListener("abort", () => session[Symbol.dispose](), { once: true });
      return session;
    },
  };
}

async function* readStdin({ terminal }: Context): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(BUFFER_BYTES);
  for (;;) {
    const count = await terminal.readStdin(buffer);
    if (count === null) return;
    yield buffer.subarray(0, count);
  }
}

/** What did not come as it was in the guest: never silently. */
function notes({ skipped, stripped, leaving }: Received): string[] {
  const all: [number, string][] = [
    [skipped, "devices, pipes or sockets were left out"],
    [stripped, "files lost their setuid, setgid or sticky bit"],
    [leaving, "symbolic links lead out of what was copied"],
  ];
  return all.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`);
}

function needsRoot(): BangerError {
  return new BangerError(
    "permission_denied",
    "Cannot keep owners on this host: only root may give files away",
    "Leave --archive out: the files are yours then",
  );
}

function tarOnTerminal(): BangerError {
  return new BangerError(
    "invalid_argument",
    "Cannot write a tar to a terminal",
    "Send it on: … - > FILE, or … - | tar t",
  );
}

export const VM_COPY_COMMANDS: readonly Command[] = [copyCommand];
