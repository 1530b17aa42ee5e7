import type { ApiClient } from "../../api/client.ts";
import type { ImportKernel } from "../../api/contract.ts";
import { BangerError } from "../../base/errors.ts";
import {
  type Command,
  type Context,
  flag,
  type Input,
  listOption,
  requiredArgument,
  textOption,
} from "../command.ts";
import { age, fields, print, printJson, table } from "../output.ts";
import { carryOut, QUIET_OPTION } from "../progress.ts";

const JSON_OPTION = { flags: "--json", summary: "as JSON" } as const;
const KERNEL_ARGUMENT = { name: "kernel", summary: "its name", completes: "kernel" } as const;

const list: Command = {
  path: ["kernel", "list"],
  aliases: [["kernel", "ls"]],
  summary: "list kernels",
  options: [{ flags: "--available", summary: "those that can be pulled by name" }, JSON_OPTION],
  async run(context, input) {
    const client = await context.daemon.connect();
    if (flag(input, "available")) return await listAvailable(context, client, input);
    const kernels = await (await client.v1.kernels.$get()).json();
    if (flag(input, "json")) await printJson(context.terminal, kernels);
    else {
      const rows = kernels.map((kernel) => [
        kernel.name,
        kernel.version,
        kernel.distribution,
        kernel.architecture,
        age(kernel.createdAt, context.clock.now()),
        kernel.source,
      ]);
      await print(
        context.terminal,
        table(["NAME", "VERSION", "DISTRIBUTION", "ARCHITECTURE", "AGE", "SOURCE"], rows),
      );
    }
    return 0;
  },
};

async function listAvailable({ terminal }: Context, client: ApiClient, input: Input): Promise<number> {
  const entries = await (await client.v1["kernel-catalog"].$get()).json();
  if (flag(input, "json")) await printJson(terminal, entries);
  else {
    const rows = entries.map(({ name, architecture, isPulled, description }) => [
      name,
      architecture,
      isPulled ? "yes" : "no",
      description,
    ]);
    await print(terminal, table(["NAME", "ARCHITECTURE", "PULLED", "DESCRIPTION"], rows));
  }
  return 0;
}

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
    "Fetches a kernel of the catalog (banger kernel list --available). `debian` is Debian's kernel for virtual\n" +
    "machines, fetched and verified by the host's apt, without root.",
  arguments: [{ name: "kernel", summary: "a name from the catalog: debian" }],
  options: [{ flags: "--force", summary: "even where it is here" }, QUIET_OPTION],
  async run(context, input) {
    const client = await context.daemon.connect();
    const request = client.v1.kernels.pull.$post({
      json: { name: requiredArgument(input, 0), force: flag(input, "force") },
    });
    await print(context.terminal, await carryOut({ context, client, input }, request));
    return 0;
  },
};

const importKernel: Command = {
  path: ["kernel", "import"],
  summary: "add a kernel from files of this host",
  details: `Adds a kernel from one of:

  --deb FILE       Debian packages: a linux-image one, and busybox-static's where the host has no static busybox
  --from DIR       a directory with a vmlinux or vmlinuz, and its modules in lib/modules/VERSION; metadata.json in it
                   may say which: {"kernel": "…", "modules": "…", "distribution": "…", "source": "…"}
  --vmlinux FILE   one kernel file that has the drivers of virtual machines in itself

It needs a PVH entry point (CONFIG_PVH) and the virtio drivers. The initramfs is banger's own.`,
  arguments: [{ name: "name", summary: "what to call it" }],
  options: [
    { flags: "--deb <file>", summary: "a .deb file; may be repeated", repeated: true },
    { flags: "--from <directory>", summary: "a directory with a kernel in it" },
    { flags: "--vmlinux <file>", summary: "one kernel file" },
    QUIET_OPTION,
  ],
  async run(context, input) {
    const json = { name: requiredArgument(input, 0), origin: importOrigin(context, input) } as ImportKernel;
    const client = await context.daemon.connect();
    const name = await carryOut({ context, client, input }, client.v1.kernels.import.$post({ json }));
    await print(context.terminal, name);
    return 0;
  },
};

function importOrigin({ absolutePath }: Context, input: Input): ImportKernel["origin"] {
  const debs = listOption(input, "deb").map(absolutePath);
  const directory = textOption(input, "from");
  const vmlinux = textOption(input, "vmlinux");
  const origins = [
    ...(debs.length > 0 ? [{ debs }] : []),
    ...(directory === undefined ? [] : [{ directory: absolutePath(directory) }]),
    ...(vmlinux === undefined ? [] : [{ vmlinux: absolutePath(vmlinux) }]),
  ];
  const [origin] = origins;
  if (origin && origins.length === 1) return origin;
  throw new BangerError(
    "invalid_argument",
    `Cannot import a kernel: ${origin ? "more than one place is given to take it from" : "no file is given"}`,
    "Give one of: --deb FILE, --from DIR, --vmlinux FILE",
  );
}

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

export const KERNEL_COMMANDS: readonly Command[] = [list, show, pull, importKernel, remove];
