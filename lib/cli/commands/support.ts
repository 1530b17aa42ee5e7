import { BangerError } from "../../base/errors.ts";
import { formatBytes } from "../../base/units.ts";
import { type Command, flag, textOption } from "../command.ts";
import { print, say, visible } from "../output.ts";

const bundle: Command = {
  path: ["support", "bundle"],
  summary: "collect versions, findings and logs for a bug report, without secrets",
  details:
    "Writes a tar.gz: versions, what banger doctor finds, the daemon's log, and of each VM its record, events, and\n" +
    "the end of its console and logs. No disks, no keys, nothing from inside a VM but its console. Values of\n" +
    "environments, credentials in URLs and what looks like a key or a token are masked. Masking knows forms, not\n" +
    "meanings, and names of files, VMs and users stay: look into it before you hand it on.\n" +
    "Says what goes in before it writes. Needs no daemon. Prints the path of what it wrote.",
  options: [
    { flags: "-o, --output <file>", summary: "where to (default: here, by date)", completes: "file" },
    { flags: "--list", summary: "say what would go in, and write nothing" },
  ],
  async run({ absolutePath, clock, support, terminal }, input) {
    const { collect, pack, files } = await support();
    const day = new Date(clock.now()).toISOString().slice(0, 19).replaceAll(/[-:]/g, "");
    const path = absolutePath(textOption(input, "output") ?? `banger-support-${day}.tar.gz`);
    if (!flag(input, "list") && await files.stat(path) !== undefined) {
      const hint = "Remove it, or give another name: --output FILE";
      throw new BangerError("already_exists", `Cannot write ${path}: it is there already`, hint);
    }
    const found = await collect();
    for (const { name, what, text } of found) {
      await say(terminal, `  ${visible(name)}  ${formatBytes(text.length)}  ${visible(what)}`);
    }
    if (flag(input, "list")) return 0;
    await files.writeAtomic(path, pack(found), 0o600);
    await print(terminal, path);
    return 0;
  },
};

export const SUPPORT_COMMANDS: readonly Command[] = [bundle];
