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

/** Of each group, what runs side by side: each in a process of its own. */
const GROUPS = {
  unit: { shards: [["tests/architecture_test.ts", "tests/unit"]], flags: ["--parallel"] },
  // Much of them is waiting for servers and machines. Two halves of about the same length.
  host: { shards: hostShards("faults", "kernel", "net", "vm", "vmm"), flags: [] },
  smoke: { shards: [["tests/smoke"]], flags: [] },
} as const;

type Group = keyof typeof GROUPS;

const PLANS: Readonly<Record<string, readonly (Group | "lint" | "build")[]>> = {
  unit: ["unit"],
  host: ["build", "host"],
  smoke: ["build", "smoke"],
  ok: ["lint", "unit", "build", "host"],
  all: ["lint", "unit", "build", "host", "smoke"],
};

/** @param first the directories of the first half; the second is everything else */
function hostShards(...first: string[]): string[][] {
  const entries = [...Deno.readDirSync(`${root}tests/host`)].map(({ name }) => name).sort();
  const inFirst = (name: string) => first.includes(name);
  const halves = [entries.filter(inFirst), entries.filter((name) => !inFirst(name))];
  return halves.map((names) => names.map((name) => `tests/host/${name}`));
}

async function runGroup(
  group: Group,
  filter: string | undefined,
  extra: Record<string, string> = {},
): Promise<Counts> {
  const { shards, flags } = GROUPS[group];
  const total = noCounts();
  // What the first one says is shown at once, the others' words behind it.
  const running = shards.map((paths, index) => runShard(paths, flags, filter, extra, index === 0));
  for (const shard of running) add(total, await shard.then(({ counts, say }) => (say(), counts)));
  return total;
}

async function runShard(
  paths: readonly string[],
  flags: readonly string[],
  filter: string | undefined,
  extra: Record<string, string>,
  isShownAtOnce: boolean,
): Promise<{ counts: Counts; say: () => void }> {
  const held: Uint8Array[] = [];
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
    if (isShownAtOnce) writeOut(chunk);
    else held.push(chunk);
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
  return { counts, say: () => held.forEach(writeOut) };
}

function writeOut(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}

function noCounts(): Counts {
  return { passed: 0, failed: 0, ignored: 0, failures: [] };
}

function add(total: Counts, counts: Counts): void {
  total.passed += counts.passed;
  total.failed += counts.failed;
  total.ignored += counts.ignored;
  total.failures.push(...counts.failures);
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
  const total = noCounts();
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
      add(total, counts);
    }
    console.log(`== ${part}: ${((performance.now() - startedAtMs) / 1000).toFixed(0)} s`);
  }
  if (total.failures.length > 0) console.log(`\nfailed:\n  ${total.failures.join("\n  ")}`);
  console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.ignored} skipped`);
  return total.failed === 0 ? 0 : 1;
}

Deno.exit(await main());
