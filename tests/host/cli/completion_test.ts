/** Tab, as bash, zsh and fish themselves see it. */
import assert from "node:assert/strict";
import { COMPLETION_SCRIPTS, type Shell } from "../../../lib/cli/completion_scripts.ts";

/** Stands for banger: says what it was asked, and a few answers. */
const STAND_IN = `#!/bin/sh
shift 2 # __complete --
printf '%s\\n' "$*" >>"$ASKED"
case "$*" in
  "vm cp "*) printf 'web:\\tstopped, alpine\\n:files\\n' ;;
  *--image=*) printf '%s\\n' '--image=alpine:3.20	a reference' ;;
  *) printf 'create\\tmake a VM and start it\\ncp\\tcopy: both ways\\n' ;;
esac
`;

const SHELLS: Readonly<Record<Shell, { script: string; command: readonly string[] }>> = {
  bash: {
    script: `COMP_WORDBREAKS=$' \\t\\n"'"'"'><=;|&(:'
COMP_LINE=$LINE COMP_POINT=\${#LINE}
_banger
printf '%s\\n' "\${COMPREPLY[@]}"`,
    command: ["bash", "--norc"],
  },
  zsh: {
    // Without a terminal there is no completion to look at: what would be shown is printed.
    script:
      `compadd() { local one; while [[ $1 == -* && $1 != -- ]]; do [[ $1 == -S ]] && shift; shift; done; shift
  for one in "$@"; do print -r -- "$one"; done }
_describe() { local one; for one in "\${(@P)2}"; do print -r -- "\${\${one//\\\\:/%}%%:*}" | tr % :; done }
_files() { print -r -- plain-file }
words=("\${(@s: :)LINE}"); CURRENT=$#words
_banger`,
    command: ["zsh", "-f"],
  },
  fish: { script: `complete -C "$LINE" | string replace -r '\\t.*' ''`, command: ["fish", "--no-config"] },
};

async function tab(shell: Shell, line: string): Promise<{ offered: string[]; asked: string }> {
  const directory = await Deno.makeTempDir();
  try {
    const asked = `${directory}/asked.log`;
    await Deno.writeTextFile(`${directory}/banger`, STAND_IN, { mode: 0o755 });
    await Deno.mkdir(`${directory}/files`);
    await Deno.writeTextFile(`${directory}/files/plain-file`, "");
    const load = shell === "zsh" ? "autoload -Uz compinit; compdef() { : }\n" : "";
    await Deno.writeTextFile(
      `${directory}/run`,
      `${load}${COMPLETION_SCRIPTS[shell]}\n${SHELLS[shell].script}\n`,
    );
    const [program, ...args] = SHELLS[shell].command;
    const { stdout, stderr } = await new Deno.Command(program!, {
      args: [...args, `${directory}/run`],
      cwd: `${directory}/files`,
      clearEnv: true,
      env: {
        PATH: `${directory}:${Deno.env.get("PATH")}`,
        LINE: line,
        ASKED: asked,
        HOME: directory,
        LANG: "C.UTF-8",
      },
    }).output();
    const offered = new TextDecoder().decode(stdout).split("\n").filter(Boolean);
    const problems = new TextDecoder().decode(stderr);
    const questions = await Deno.readTextFile(asked).catch(() => "");
    assert.ok(offered.length > 0, `${shell} offers nothing for ${line}: ${problems}`);
    return { offered, asked: questions.trim().split("\n").at(-1) ?? "" };
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

for (const shell of Object.keys(SHELLS) as Shell[]) {
  Deno.test(`${shell} offers what banger says, and asks with the words as they are`, async () => {
    const { offered, asked } = await tab(shell, "banger vm c");
    assert.deepEqual(offered.sort(), ["cp", "create"]);
    assert.equal(asked, "vm c");
  });

  Deno.test(`${shell} offers VMs and files where both can stand`, async () => {
    const { offered } = await tab(shell, "banger vm cp ");
    assert.deepEqual(offered.sort(), ["plain-file", "web:"]);
  });

  Deno.test(`${shell} completes a value behind an equals sign, with a colon in it`, async () => {
    const { offered, asked } = await tab(shell, "banger vm create --image=al");
    // bash replaces only what stands behind the last break of a word.
    assert.deepEqual(offered, [shell === "bash" ? "alpine:3.20" : "--image=alpine:3.20"]);
    assert.equal(asked, "vm create --image=al");
  });
}
