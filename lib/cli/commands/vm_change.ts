import type { ApiClient } from "../../api/client.ts";
import type { ChangeImage, PlannedChangeView, SetVm } from "../../api/vm_contract.ts";
import { BangerError } from "../../base/errors.ts";
import { parseImageRequest } from "../../base/image_source.ts";
import { parseKernelName } from "../../base/names.ts";
import { formatBytes, parseDurationMs } from "../../base/units.ts";
import {
  type Command,
  type Context,
  flag,
  type Input,
  listOption,
  requiredArgument,
  textOption,
} from "../command.ts";
import { cpusFlag, diskFlag, environmentFlag, memoryFlag, requestedImage } from "../create_flags.ts";
import { carryOutEach, eachVm, VM_ARGUMENTS } from "../each_vm.ts";
import { print, printJson, say, table } from "../output.ts";
import { carryOut, QUIET_OPTION } from "../progress.ts";

const JSON_OPTION = { flags: "--json", summary: "as JSON" } as const;

const restart: Command = {
  path: ["vm", "restart"],
  summary: "shut VMs down cleanly and start them again",
  details:
    "Shuts VMs down cleanly and starts them again; one that does not run is started. What vm set left for\n" +
    "the next start holds from then on.",
  arguments: [VM_ARGUMENTS],
  options: [{ flags: "-f, --force", summary: "cut their power instead of shutting them down" }, QUIET_OPTION],
  run: (context, input) =>
    carryOutEach(
      context,
      input,
      (client, name) =>
        client.v1.vms[":name"].restart.$post({ param: { name }, json: { force: flag(input, "force") } }),
    ),
};

const kill: Command = {
  path: ["vm", "kill"],
  summary: "cut the power of VMs at once",
  details:
    "Cuts the power of VMs at once, whatever else is being done with them: a start or a shutdown that is\n" +
    "under way ends, and of a broken VM every process is ended. What was not yet synced is lost.",
  arguments: [VM_ARGUMENTS],
  options: [QUIET_OPTION],
  async run(context, input) {
    const client = await context.daemon.connect();
    await eachVm(context, input, async (name) => {
      await carryOut({ context, client, input }, client.v1.vms[":name"].kill.$post({ param: { name } }));
    });
    return 0;
  },
};

const set: Command = {
  path: ["vm", "set"],
  summary: "change a VM's processors, memory, disk, kernel, environment or image",
  details:
    "Changes a VM. The disk grows at once, in a running VM too, and never shrinks; the others hold from the\n" +
    "VM's next start on, and it says so. A kernel is one of banger kernel list; one of the catalog is fetched.\n\n" +
    "With --image a stopped VM gets another image: its root disk begins anew, /root stays as it is. The root disk\n" +
    "before is kept until the next change of image; --undo-image swaps it back, and once more swaps again.",
  arguments: [{ name: "vm", summary: "its name", completes: "vm" }],
  options: [
    { flags: "-c, --cpus <count>", summary: "virtual processors" },
    { flags: "-m, --memory <size>", summary: "memory, such as 512M or 2G" },
    { flags: "--disk <size>", summary: "size of the work disk at /root, larger than it is" },
    {
      flags: "-e, --env <name=value>",
      summary: "a variable for every command in the VM; may be repeated",
      repeated: true,
    },
    { flags: "--unset-env <name>", summary: "take a variable away; may be repeated", repeated: true },
    { flags: "--kernel <kernel>", summary: "another kernel to boot", completes: "kernel" },
    { flags: "-i, --image <image>", summary: "another image below its work disk, as vm create takes it" },
    { flags: "--undo-image", summary: "back to the image and the root disk before the last --image" },
    { flags: "--dry-run", summary: "only say what would change, and when" },
    JSON_OPTION,
    QUIET_OPTION,
  ],
  async run(context, input) {
    const { terminal } = context;
    const name = requiredArgument(input, 0);
    const json = changeOf(input);
    const image = imageChangeOf(context, input, json.kernel);
    if (!image && Object.keys(json).length === 0) throw nothingToChange();
    const client = await context.daemon.connect();
    const settings = await (await client.v1.vms[":name"].plan.$post({ param: { name }, json })).json();
    const plan = image ? [await plannedImage(client, name, image), ...settings] : settings;
    const isDry = flag(input, "dryRun");
    const vm = { param: { name } };
    if (!isDry && image) {
      await carryOut({ context, client, input }, client.v1.vms[":name"].image.$post({ ...vm, json: image }));
    }
    // With an image before its kernel comes back: what was asked for by name is set in any case.
    if (!isDry && (settings.length > 0 || (image && json.kernel !== undefined))) {
      await carryOut({ context, client, input }, client.v1.vms[":name"].set.$post({ ...vm, json }));
    }
    if (flag(input, "json")) await printJson(terminal, plan);
    else if (isDry) await print(terminal, changeTable(plan));
    else if (!flag(input, "quiet")) { for (const line of changeLines(name, plan)) await say(terminal, line); }
    return 0;
  },
};

/** @throws {BangerError} `invalid_argument` */
function imageChangeOf(
  context: Context,
  input: Input,
  kernel: SetVm["kernel"],
): ChangeImage | undefined {
  const image = requestedImage(context, textOption(input, "image"));
  const isUndo = flag(input, "undoImage");
  if (image === undefined) return isUndo ? { undo: true } : undefined;
  if (!isUndo) return { image: parseImageRequest(image), ...(kernel === undefined ? {} : { kernel }) };
  throw new BangerError(
    "invalid_argument",
    "Cannot change a VM: --image and --undo-image exclude each other",
  );
}

async function plannedImage(
  client: ApiClient,
  name: string,
  change: ChangeImage,
): Promise<PlannedChangeView> {
  const vm = await (await client.v1.vms[":name"].$get({ param: { name } })).json();
  const to = "image" in change ? change.image : vm.previousImage ?? "none";
  return { setting: "image", from: vm.image, to, takesEffect: "now" };
}

/** @throws {BangerError} `invalid_argument` that names the flag */
function changeOf(input: Input): SetVm {
  const cpus = textOption(input, "cpus");
  const memory = textOption(input, "memory");
  const disk = textOption(input, "disk");
  const kernel = textOption(input, "kernel");
  const environment: Record<string, string | null> = { ...environmentFlag(listOption(input, "env")) };
  for (const name of listOption(input, "unsetEnv")) environment[name] = null;
  return {
    ...(cpus === undefined ? {} : { cpus: cpusFlag(cpus) }),
    ...(kernel === undefined ? {} : { kernel: parseKernelName(kernel) }),
    ...(memory === undefined ? {} : { memoryMib: memoryFlag(memory) }),
    ...(disk === undefined ? {} : { workDiskBytes: diskFlag(disk) }),
    ...(Object.keys(environment).length === 0 ? {} : { environment }),
  };
}

function nothingToChange(): BangerError {
  return new BangerError(
    "invalid_argument",
    "Cannot change a VM: nothing says what",
    "Give one of --cpus, --memory, --disk, --kernel, --env, --unset-env, --image, --undo-image",
  );
}

/** Exported for tests. */
export function changeTable(plan: readonly PlannedChangeView[]): string {
  if (plan.length === 0) return "Nothing would change";
  return table(
    ["SETTING", "FROM", "TO", "HOLDS FROM"],
    plan.map(({ setting, from, to, takesEffect }) => [setting, from, to, takesEffect]),
  );
}

/** Exported for tests. */
export function changeLines(name: string, plan: readonly PlannedChangeView[]): string[] {
  if (plan.length === 0) return [`banger: VM ${name} is so already`];
  const lines = plan.map(({ setting, from, to, takesEffect }) =>
    `banger: ${setting}: ${from} to ${to}${takesEffect === "now" ? "" : ", from its next start on"}`
  );
  const needsRestart = plan.some(({ takesEffect }) => takesEffect !== "now");
  return needsRestart ? [...lines, `banger: start it anew for that: banger vm restart ${name}`] : lines;
}

const restore: Command = {
  path: ["vm", "restore"],
  summary: "bring a removed VM back from the trash",
  details:
    "Brings a removed VM back, stopped and with all its disks. Of several of one name it is the one that was\n" +
    "removed last; ids tell them apart: banger vm list --removed.",
  arguments: [{ name: "vm", summary: "its name or id", completes: "removed-vm" }],
  options: [{ flags: "-n, --name <name>", summary: "another name for it" }],
  async run({ daemon, terminal }, input) {
    const client = await daemon.connect();
    const name = textOption(input, "name");
    const response = await client.v1.vms[":name"].restore.$post({
      param: { name: requiredArgument(input, 0) },
      json: name === undefined ? {} : { name },
    });
    await print(terminal, (await response.json()).name);
    return 0;
  },
};

const prune: Command = {
  path: ["vm", "prune"],
  summary: "empty the trash: removed VMs are gone for good",
  details:
    "Removes for good what is in the trash, all of it or the VMs that are named. The daemon does so by itself\n" +
    "once a VM has been there for its time (trash.keep in config.toml).",
  arguments: [{
    ...VM_ARGUMENTS,
    summary: "names or ids in the trash (default: all)",
    completes: "removed-vm",
    optional: true,
  }],
  options: [
    { flags: "--older-than <time>", summary: "only what was removed so long ago, such as 12h or 3d" },
    { flags: "--dry-run", summary: "only say what would go" },
    JSON_OPTION,
  ],
  async run({ daemon, terminal }, input) {
    const names = input.arguments.filter((name) => name !== undefined);
    const olderThan = textOption(input, "olderThan");
    const isDry = flag(input, "dryRun");
    const json = {
      dryRun: isDry,
      ...(names.length === 0 ? {} : { names }),
      ...(olderThan === undefined ? {} : { olderThanMs: parseDurationMs(olderThan) }),
    };
    const client = await daemon.connect();
    const gone = await (await client.v1.vms.prune.$post({ json })).json();
    if (flag(input, "json")) {
      await printJson(terminal, gone);
      return 0;
    }
    const freed = formatBytes(gone.reduce((sum, { freedBytes }) => sum + freedBytes, 0));
    for (const { name, id, freedBytes } of gone) {
      await print(terminal, `${name}  ${id}  ${formatBytes(freedBytes)}`);
    }
    const count = `${gone.length} ${gone.length === 1 ? "VM" : "VMs"}`;
    await say(terminal, `banger: ${count}, ${freed}${isDry ? " would be freed" : " freed"}`);
    return 0;
  },
};

export const VM_CHANGE_COMMANDS: readonly Command[] = [restart, kill, set, restore, prune];
