import { BangerError } from "../../base/errors.ts";
import { type Command, flag, textOption } from "../command.ts";
import { print, say } from "../output.ts";
import { QUIET_OPTION, withProgressLine } from "../progress.ts";

const upgrade: Command = {
  path: ["upgrade"],
  summary: "replace this banger by a newer one, or go back",
  details:
    `Downloads the release's executable, verifies it, tries it, and puts it in this one's place by one rename. The old
one is kept: --back returns to it. VMs run on; the daemon is replaced once it is idle.

Without --url the release is looked for where this banger came from.`,
  options: [
    { flags: "--url <url>", summary: "the directory of the release, which has SHA256SUMS" },
    { flags: "--version <version>", summary: "that version (default: the release's)" },
    { flags: "--check", summary: "only say what there is" },
    { flags: "--back", summary: "return to the banger before the last upgrade" },
    QUIET_OPTION,
  ],
  async run(context, input) {
    const { terminal, build } = context;
    // Only here: most commands should not wait for what this one needs.
    const { findRelease, goBack, isInstalled, replaceExecutable } = await import("../upgrade.ts");
    const { host, places } = await context.upgrade();
    if (flag(input, "back")) {
      await goBack(host, places);
      await print(terminal, `${places.executable} is the one before again`);
      return 0;
    }
    const url = textOption(input, "url") ?? build.releaseUrl;
    if (!url) {
      throw new BangerError(
        "invalid_argument",
        "Cannot upgrade: this banger does not know where its releases are",
        "Say where: banger upgrade --url URL",
      );
    }
    const interrupt = new AbortController();
    const cancelled = () =>
      interrupt.abort(new BangerError("cancelled", "Cannot finish the upgrade: it was cancelled"));
    using _interrupt = terminal.onSignal("SIGINT", cancelled);
    using _terminate = terminal.onSignal("SIGTERM", cancelled);
    const { signal } = interrupt;
    const file = await findRelease(host, url, places.architecture, textOption(input, "version"), signal);
    if (await isInstalled(host, places.executable, file.sha256)) {
      await print(terminal, `banger ${file.version} is installed already`);
      return 0;
    }
    if (flag(input, "check")) {
      await print(
        terminal,
        `banger ${file.version} can be had; this is ${build.version} (commit ${build.commit})`,
      );
      return 0;
    }
    await withProgressLine(
      context,
      flag(input, "quiet"),
      (progress) => replaceExecutable(host, places, file, progress, signal),
    );
    await print(terminal, `banger ${file.version} is installed: ${places.executable}`);
    if (!flag(input, "quiet")) {
      await say(terminal, "banger: to return to the one before: banger upgrade --back");
    }
    return 0;
  },
};

export const UPGRADE_COMMANDS: readonly Command[] = [upgrade];
