import type { CatalogEntryView } from "../../api/contract.ts";
import { quote } from "../../base/names.ts";
import type { Terminal } from "../../base/terminal.ts";
import { formatBytes } from "../../base/units.ts";
import { type Command, flag, requiredArgument } from "../command.ts";
import { age, fields, print, printJson, table } from "../output.ts";
import { imageParam } from "./image_param.ts";
import { IMAGE_MAKING_COMMANDS } from "./image_making.ts";

const JSON_OPTION = { flags: "--json", summary: "as JSON" } as const;
const IMAGE_ARGUMENT = { name: "image", summary: "its name", completes: "image" } as const;

const list: Command = {
  path: ["image", "list"],
  aliases: [["image", "ls"]],
  summary: "list images",
  options: [
    JSON_OPTION,
    { flags: "--available", summary: "what can be pulled by its name instead of what is here" },
  ],
  async run({ daemon, terminal, clock }, input) {
    const client = await daemon.connect();
    if (flag(input, "available")) {
      await printCatalog(terminal, await (await client.v1.catalog.$get()).json(), flag(input, "json"));
      return 0;
    }
    const images = await (await client.v1.images.$get()).json();
    if (flag(input, "json")) await printJson(terminal, images);
    else {
      const rows = images.map((image) => [
        image.name,
        image.id.slice(0, 12),
        formatBytes(image.contentBytes),
        image.init,
        image.libc,
        age(image.createdAt, clock.now()),
        image.source,
      ]);
      await print(terminal, table(["NAME", "ID", "SIZE", "INIT", "LIBC", "AGE", "SOURCE"], rows));
    }
    return 0;
  },
};

async function printCatalog(
  terminal: Terminal,
  entries: readonly CatalogEntryView[],
  asJson: boolean,
): Promise<void> {
  if (asJson) return await printJson(terminal, entries);
  const rows = entries.map(({ name, isPulled, sources, summary }) => [
    name,
    isPulled ? "yes" : "no",
    sources[0] ?? "",
    summary,
  ]);
  await print(terminal, table(["NAME", "HERE", "SOURCE", "SUMMARY"], rows));
}

const show: Command = {
  path: ["image", "show"],
  summary: "show all about one image",
  arguments: [IMAGE_ARGUMENT],
  options: [JSON_OPTION],
  async run({ daemon, terminal }, input) {
    const client = await daemon.connect();
    const image =
      await (await client.v1.images[":name"].$get({ param: imageParam(requiredArgument(input, 0)) })).json();
    if (flag(input, "json")) await printJson(terminal, image);
    else {
      await print(
        terminal,
        fields([
          ["Name", image.name],
          ["Id", image.id],
          ["Source", image.source],
          ["Also", image.aliases?.join(", ")],
          ["Digest", image.digest],
          ["Platform", image.platform],
          ["Created", image.createdAt],
          ["Disk", `${formatBytes(image.sizeBytes)}, ${formatBytes(image.contentBytes)} in use`],
          ["File", image.externalPath],
          ["Kernel", image.kernel],
          ["Init", image.init],
          ["Libc", image.libc],
          ["ssh server", image.hasSshServer ? "yes" : "no"],
          ["Runs as", `${quote(image.user)} in ${quote(image.workingDirectory)}`],
          ["Command", image.command.map(quote).join(" ") || "none: a shell"],
          ["Agent", image.agentBuild],
          ["Used by", image.usedBy.join(", ") || "no VM"],
        ]),
      );
    }
    return 0;
  },
};

const remove: Command = {
  path: ["image", "rm"],
  summary: "remove an image that no VM uses",
  arguments: [{ ...IMAGE_ARGUMENT, repeated: true }],
  async run({ daemon }, input) {
    const client = await daemon.connect();
    for (const name of input.arguments) {
      if (name !== undefined) await client.v1.images[":name"].$delete({ param: imageParam(name) });
    }
    return 0;
  },
};

export const IMAGE_COMMANDS: readonly Command[] = [list, show, remove, ...IMAGE_MAKING_COMMANDS];
