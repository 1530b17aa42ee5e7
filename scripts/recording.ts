/**
 * Records what README shows: runs each command of the script below with the compiled executables, in a sample
 * repository, and writes what was printed, and when, as a moving picture without any script in it.
 *
 * deno task recording [--home DIR]    DIR: a home whose image and kernel are there already (else they are made first)
 */
import { parseArgs } from "node:util";
import { BIN_DIRECTORY, build } from "./build.ts";

const OUTPUT = new URL("../docs/recording.svg", import.meta.url).pathname;
const COMMANDS = [
  "banger vm run --name dev -- make test",
  "banger vm exec dev -- uname -srm",
  "banger vm exec dev -w /root/repo -- sh -c 'echo \"works in a VM\" >>notes'",
  "banger vm workspace export dev --apply",
  "git diff --stat",
  "banger vm rm --force dev",
] as const;
/** Made before, out of the picture. */
const PREPARE = `git init -q -b main; git config user.name You; git config user.email you@example.org
printf 'test:\\n\\t@echo "2 tests passed on $$(hostname)"\\n' >Makefile; echo one >notes
git add .; git commit -qm first`;

const LINE_PX = 20;
const MARGIN_PX = 16;
const WIDTH_PX = 820;
const MAX_COLUMNS = 92;
/** Between the end of one command and the next, so that people can read. */
const PAUSE_S = 1;
/** How long the whole stays before it begins again. */
const REST_S = 6;

interface Line {
  readonly kind: "command" | "output";
  readonly text: string;
  readonly atS: number;
}

/** Runs a command as a shell would. @returns its lines, each with the seconds since it began */
async function run(command: string, cwd: string, env: Record<string, string>) {
  const child = new Deno.Command("bash", {
    args: ["-c", `exec 2>&1; ${command}`],
    cwd,
    env,
    clearEnv: true,
    stdin: "null",
    stdout: "piped",
  }).spawn();
  const startedAtMs = performance.now();
  const lines: { text: string; afterS: number }[] = [];
  let rest = "";
  for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + chunk).split("\n");
    rest = parts.pop()!;
    const afterS = (performance.now() - startedAtMs) / 1000;
    for (const text of parts) lines.push({ text, afterS });
  }
  const { code } = await child.status;
  if (code !== 0) {
    throw new Error(`${command} ends with ${code}:\n${lines.map(({ text }) => text).join("\n")}`);
  }
  return { lines, tookS: (performance.now() - startedAtMs) / 1000 };
}

async function record(home: string): Promise<{ lines: Line[]; tookS: number }> {
  const directory = await Deno.makeTempDir({ prefix: "project-" });
  const env = { HOME: home, PATH: `${BIN_DIRECTORY}:${Deno.env.get("PATH")}`, TERM: "dumb", LANG: "C.UTF-8" };
  const lines: Line[] = [];
  let atS = 0.5;
  try {
    // The first VM of a home makes its image and fetches its kernel: that is told in words.
    await run("banger vm run --rm --no-repo -q -- true", directory, env);
    await run(PREPARE, directory, env);
    for (const command of COMMANDS) {
      lines.push({ kind: "command", text: `$ ${command}`, atS });
      const ran = await run(command, directory, env);
      for (const { text, afterS } of ran.lines) lines.push({ kind: "output", text, atS: atS + afterS });
      atS += ran.tookS + PAUSE_S;
    }
    return { lines, tookS: atS };
  } finally {
    await run("banger vm rm --force --purge dev || true; banger daemon stop", directory, env);
    await Deno.remove(directory, { recursive: true });
  }
}

function escape(text: string): string {
  const cut = [...text].length > MAX_COLUMNS ? `${[...text].slice(0, MAX_COLUMNS - 1).join("")}…` : text;
  return cut.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

/** Each line appears at its time, and stays until all of it begins again. */
function picture({ lines, tookS }: { lines: readonly Line[]; tookS: number }): string {
  const wholeS = tookS + REST_S;
  const height = MARGIN_PX * 2 + lines.length * LINE_PX;
  const percent = (atS: number) => ((atS / wholeS) * 100).toFixed(2);
  const styles = lines.map(({ atS }, index) =>
    `@keyframes l${index}{0%,${percent(atS)}%{opacity:0}${percent(atS + 0.01)}%,100%{opacity:1}}`
  );
  const rows = lines.map(({ kind, text }, index) => {
    const y = MARGIN_PX + (index + 0.75) * LINE_PX;
    const style = `animation:l${index} ${wholeS.toFixed(1)}s infinite`;
    return `<text x="${MARGIN_PX}" y="${y}" class="${kind}" style="${style}" xml:space="preserve">${
      escape(text)
    }</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH_PX} ${height}" width="${WIDTH_PX}">
<title>banger: a repository tested in a VM, worked on in there, and merged back</title>
<style>text{font:14px ui-monospace,monospace;fill:#c9d1d9}.command{fill:#fff;font-weight:bold}
${styles.join("\n")}</style>
<rect width="100%" height="100%" rx="8" fill="#0d1117"/>
${rows.join("\n")}
</svg>
`;
}

const { values } = parseArgs({ args: Deno.args, options: { home: { type: "string" } } });
await build();
const home = values.home ?? await Deno.makeTempDir({ prefix: "banger-recording-" });
try {
  const recorded = await record(home);
  await Deno.writeTextFile(OUTPUT, picture(recorded));
  for (const { atS, text } of recorded.lines) console.log(`${atS.toFixed(1).padStart(6)}  ${text}`);
  console.log(`${OUTPUT}: ${recorded.tookS.toFixed(0)} s`);
} finally {
  if (values.home === undefined) await Deno.remove(home, { recursive: true });
}
