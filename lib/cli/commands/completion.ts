import { BangerError } from "../../base/errors.ts";
import { quote } from "../../base/names.ts";
import type { Command, Completes, Context } from "../command.ts";
import { type Candidate, complete } from "../completion.ts";
import { COMPLETION_SCRIPTS, type Shell } from "../completion_scripts.ts";
import { print, visible } from "../output.ts";

/** @param all every command and noun; later ones complete as well */
export function completionCommands(
  all: () => { commands: readonly Command[]; nouns: Readonly<Record<string, string>> },
): readonly Command[] {
  return [completion, completeWords(all)];
}

const completion: Command = {
  path: ["completion"],
  summary: "print what a shell loads to complete banger's words with Tab",
  details:
    'Prints a script for bash, zsh or fish. In ~/.bashrc: eval "$(banger completion bash)"; in ~/.zshrc, after\n' +
    "compinit: source <(banger completion zsh); in ~/.config/fish/config.fish: banger completion fish | source.\n" +
    "Names of VMs, images and kernels come from the daemon where it runs; Tab never starts it.",
  arguments: [{ name: "shell", summary: "bash, zsh or fish", choices: Object.keys(COMPLETION_SCRIPTS) }],
  async run({ terminal }, input) {
    const shell = input.arguments[0] ?? "";
    if (!Object.hasOwn(COMPLETION_SCRIPTS, shell)) {
      throw new BangerError(
        "invalid_argument",
        `Cannot complete words in the shell ${quote(shell)}`,
        `Choose one of ${Object.keys(COMPLETION_SCRIPTS).join(", ")}`,
      );
    }
    await print(terminal, COMPLETION_SCRIPTS[shell as Shell]);
    return 0;
  },
};

/** What the scripts ask. Nothing is said where something is wrong: a Tab is no place for errors. */
function completeWords(all: Parameters<typeof completionCommands>[0]): Command {
  return {
    path: ["__complete"],
    summary: "what can follow the words behind --",
    hidden: true,
    trailing: "word…",
    async run(context, input) {
      const { commands, nouns } = all();
      const { candidates, wantsFiles } = await complete(
        commands,
        nouns,
        input.trailing ?? [],
        (what) => findNames(context, what),
      );
      const lines = candidates.map(({ text, summary }) => `${text}\t${visible(summary ?? "")}`);
      if (wantsFiles) lines.push(":files");
      if (lines.length > 0) await print(context.terminal, lines.join("\n"));
      return 0;
    },
  };
}

async function findNames({ daemon }: Context, what: Exclude<Completes, "file">): Promise<Candidate[]> {
  try {
    const client = await daemon.connectIfRunning();
    if (!client) return [];
    switch (what) {
      case "vm":
      case "vm-path": {
        const vms = await (await client.v1.vms.$get({ query: { scope: "all" } })).json();
        return vms.map(({ name, state, image }) => ({ text: name, summary: `${state}, ${image}` }));
      }
      case "removed-vm": {
        const vms = await (await client.v1.vms.$get({ query: { scope: "removed" } })).json();
        return vms.map(({ name, id }) => ({ text: name, summary: id }));
      }
      case "image": {
        const [images, catalog] = await Promise.all([
          client.v1.images.$get().then((response) => response.json()),
          client.v1.catalog.$get().then((response) => response.json()),
        ]);
        const available = catalog.filter(({ isPulled }) => !isPulled);
        return [
          ...images.map(({ name, source }) => ({ text: name, summary: source })),
          ...available.map(({ name, summary }) => ({ text: name, summary })),
        ];
      }
      case "kernel": {
        const kernels = await (await client.v1.kernels.$get()).json();
        return kernels.map(({ name, version }) => ({ text: name, summary: version }));
      }
      case "operation": {
        const operations = await (await client.v1.operations.$get()).json();
        return operations.filter(({ state }) => state === "running")
          .map(({ id, kind }) => ({ text: id.slice(0, 8), summary: kind }));
      }
    }
  } catch (thrown) {
    if (thrown instanceof BangerError) return [];
    throw thrown;
  }
}
