/**
 * Runs groups of tests and closes with their counts.
 *
 * deno run scripts/test.ts unit|host|smoke|ok|all [filter]
 */
import { BIN_DIRECTORY, build } from "./build.ts";
import { lint } from "./lint.ts";

const root = new URL("..", import.meta.url).pathname;

interface Counts {
  passed: number;
  failed: number;
  ignored: number;
  /** The failed tests by name, said once more at the end: what stands above may have been cut off. */
  failures: string[];
}

const GROUPS = {
  unit: { paths: ["tests/architecture_test.ts", "tests/unit"], flags: ["--parallel"] },
  // One after the other: they start servers and measure nothing.
  host: { paths: ["tests/host"], flags: [] },
  smoke: { paths: ["tests/smoke"], flags: [] },
} as const;

type Group = keyof typeof GROUPS;

const PLANS: Readonly<Record<string, readonly (Group | "lint" | "build")[]>> = {
  unit: ["unit"],
  host: ["build", "host"],
  smoke: ["build", "smoke"],
  ok: ["lint", "unit", "build", "host"],
  all: ["lint", "unit", "build", "host", "smoke"],
};

async function runGroup(
  group: Group,
  filter: string | undefined,
  extra: Record<string, string> = {},
): Promise<Counts> {
  const { paths, flags } = GROUPS[group];
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "test",
      "--allow-all",
      "--no-check",
      ...flags,
      ...(filter === undefined ? [] : ["--filter", filter]),
      ...paths,
    ],
    cwd: root,
    env: { NO_COLOR: "1", ...extra },
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  let text = "";
  for await (const chunk of child.stdout) {
    Deno.stdout.writeSync(chunk);
    text = (text + new TextDecoder().decode(chunk)).slice(-16_384);
  }
  const { code } = await child.status;
  const counted = /(\d+) passed(?: \([^)]*\))? \| (\d+) failed(?: \([^)]*\))?(?: \| (\d+) ignored)?/.exec(
    text,
  );
  const counts = {
    passed: Number(counted?.[1] ?? 0),
    failed: Number(counted?.[2] ?? 0),
    ignored: Number(counted?.[3] ?? 0),
    failures: failuresIn(text),
  };
  // A runner that failed without a failed test (a file that does not load) must not pass.
  if (code !== 0 && counts.failed === 0) counts.failed = 1;
  return counts;
}

/** @param text the runner's last words: a list under "FAILURES", then the counts */
function failuresIn(text: string): string[] {
  const list = text.slice(text.lastIndexOf("\n FAILURES \n")).split("\nFAILED |", 1)[0]!;
  return text.includes("\n FAILURES \n") ? list.split("\n").slice(2).filter((line) => line !== "") : [];
}

/** The smoke suite's own home, gone afterwards with its daemon; BANGER_SMOKE_HOME keeps one for the next run. */
async function runSmoke(filter: string | undefined): Promise<Counts> {
  const kept = Deno.env.get("BANGER_SMOKE_HOME");
  const home = kept ?? await Deno.makeTempDir({ prefix: "banger-smoke-" });
  try {
    return await runGroup("smoke", filter, { BANGER_SMOKE_HOME: home });
  } finally {
    await new Deno.Command(`${BIN_DIRECTORY}/banger`, {
      args: ["daemon", "stop", "--force"],
      env: { HOME: home },
    })
      .output();
    if (kept === undefined) await Deno.remove(home, { recursive: true });
  }
}

async function main(): Promise<number> {
  const [name = "all", filter] = Deno.args;
  const plan = PLANS[name];
  if (!plan) {
    console.error(`Cannot run tests ${JSON.stringify(name)}: choose one of ${Object.keys(PLANS).join(", ")}`);
    return 2;
  }
  const total: Counts = { passed: 0, failed: 0, ignored: 0, failures: [] };
  for (const part of plan) {
    const startedAtMs = performance.now();
    console.log(`\n== ${part}`);
    if (part === "lint") {
      if (await lint()) {
        total.passed++;
      } else {
        total.failed++;
        total.failures.push("lint");
      }
    } else if (part === "build") {
      await build();
    } else {
      const counts = part === "smoke" ? await runSmoke(filter) : await runGroup(part, filter);
      total.passed += counts.passed;
      total.failed += counts.failed;
      total.ignored += counts.ignored;
      total.failures.push(...counts.failures);
    }
    console.log(`== ${part}: ${((performance.now() - startedAtMs) / 1000).toFixed(0)} s`);
  }
  if (total.failures.length > 0) console.log(`\nfailed:\n  ${total.failures.join("\n  ")}`);
  console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.ignored} skipped`);
  return total.failed === 0 ? 0 : 1;
}

Deno.exit(await main());
