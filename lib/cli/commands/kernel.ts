import { type Command, flag, requiredArgument } from "../command.ts";
import { age, fields, print, printJson, table } from "../output.ts";
import { carryOut, QUIET_OPTION } from "../progress.ts";

const JSON_OPTION = { flags: "--json", summary: "as JSON" } as const;
const KERNEL_ARGUMENT = { name: "kernel", summary: "its name", completes: "kernel" } as const;

const list: Command = {
  path: ["kernel", "list"],
  aliases: [["kernel", "ls"]],
  summary: "list kernels",
  options: [JSON_OPTION],
  async run({ daemon, terminal, clock }, input) {
    const client = await daemon.connect();
    const kernels = await (await client.v1.kernels.$get()).json();
    if (flag(input, "json")) await printJson(terminal, kernels);
    else {
      const rows = kernels.map((kernel) => [
        kernel.name,
        kernel.version,
        kernel.distribution,
        kernel.architecture,
        age(kernel.createdAt, clock.now()),
        kernel.source,
      ]);
      await print(
        terminal,
        table(["NAME", "VERSION", "DISTRIBUTION", "ARCHITECTURE", "AGE", "SOURCE"], rows),
      );
    }
    return 0;
  },
};

const show: Command = {
  path: ["kernel", "show"],
  summary: "show all about one kernel",
  arguments: [KERNEL_ARGUMENT],
  options: [JSON_OPTION],
  async run({ daemon, terminal }, input) {
    const client = await daemon.connect();
    const kernel =
      await (await client.v1.kernels[":name"].$get({ param: { name: requiredArgument(input, 0) } })).json();
    if (flag(input, "json")) await printJson(terminal, kernel);
    else {
      await print(
        terminal,
        fields([
          ["Name", kernel.name],
          ["Version", kernel.version],
          ["Distribution", kernel.distribution],
          ["Architecture", kernel.architecture],
          ["sha256", kernel.sha256],
          ["Source", kernel.source],
          ["Created", kernel.createdAt],
        ]),
      );
    }
    return 0;
  },
};

const pull: Command = {
  path: ["kernel", "pull"],
  summary: "fetch a kernel",
  details:
    "Fetches a kernel. `debian` is Debian's cloud kernel, fetched and verified by the host's apt, without root.",
  arguments: [{ name: "kernel", summary: "a name from the catalog: debian" }],
  options: [QUIET_OPTION],
  async run(context, input) {
    const client = await context.daemon.connect();
    const name = await carryOut(
      { context, client, input },
      client.v1.kernels.pull.$post({ json: { name: requiredArgument(input, 0) } }),
    );
    await print(context.terminal, name);
    return 0;
  },
};

const importDebs: Command = {
  path: ["kernel", "import"],
  summary: "add a kernel from package files",
  details:
    "Adds a kernel from Debian packages on this host: a linux-image package, and busybox-static for the initramfs.",
  arguments: [{ name: "name", summary: "what to call it" }],
  options: [{ flags: "--deb <file>", summary: "a .deb file; may be repeated", repeated: true }, QUIET_OPTION],
  async run(context, input) {
    const files = input.options.deb as readonly string[] | undefined ?? [];
    const debs = files.map((file) => context.absolutePath(file));
    const client = await context.daemon.connect();
    const name = await carryOut(
      { context, client, input },
      client.v1.kernels.import.$post({
        json: { name: requiredArgument(input, 0), debs },
      }),
    );
    await print(context.terminal, name);
    return 0;
  },
};

const remove: Command = {
  path: ["kernel", "rm"],
  summary: "remove a kernel that no VM uses",
  arguments: [{ ...KERNEL_ARGUMENT, repeated: true }],
  async run({ daemon }, input) {
    const client = await daemon.connect();
    for (const name of input.arguments) {
      if (name !== undefined) await client.v1.kernels[":name"].$delete({ param: { name } });
    }
    return 0;
  },
};

export const KERNEL_COMMANDS: readonly Command[] = [list, show, pull, importDebs, remove];
