import type { DnsStatusView } from "../../api/network_contract.ts";
import { BangerError } from "../../base/errors.ts";
import {
  describeSteps,
  detection,
  HOSTS_PATH,
  hostsBlock,
  installPlan,
  type NameRecord,
  probe,
  SETUP_KINDS,
  type SetupFacts,
  type SetupKind,
  type SetupStep,
  uninstallPlan,
} from "../../net/dns/host_setup.ts";
import { type Command, type Context, flag, type Input, textOption } from "../command.ts";
import { fields, print, printJson, say } from "../output.ts";

const YES_OPTION = { flags: "-y, --yes", summary: "do not ask" } as const;
const DRY_RUN_OPTION = { flags: "--dry-run", summary: "only show what would be done" } as const;

async function succeeds({ processes }: Context, argv: readonly string[]): Promise<boolean> {
  try {
    return (await processes.run({ program: argv[0]!, args: argv.slice(1) })).code === 0;
  } catch (thrown) {
    if (thrown instanceof BangerError && thrown.code === "missing_tool") return false;
    throw thrown;
  }
}

async function firstThat(context: Context, command: (kind: SetupKind) => readonly string[]) {
  for (const kind of SETUP_KINDS) if (await succeeds(context, command(kind))) return kind;
  return undefined;
}

async function hostsText({ processes }: Context): Promise<string> {
  const { code, stdout } = await processes.run({ program: "cat", args: [HOSTS_PATH] });
  return code === 0 ? stdout : "";
}

async function userId({ processes }: Context): Promise<number> {
  return Number((await processes.run({ program: "id", args: ["-u"] })).stdout.trim());
}

async function gatherFacts(context: Context, dns: DnsStatusView): Promise<SetupFacts> {
  const { address, port, owner, hostRecords: records } = dns;
  return { address, port, owner, records, hostsText: await hostsText(context), uid: await userId(context) };
}

/** @returns what is wrong with banger's block of the hosts file; undefined where nothing is */
function hostsProblem(text: string, { owner, hostRecords }: DnsStatusView): string | undefined {
  const block = hostsBlock(text);
  if (!block) return "its block has no end";
  if (block.owner !== owner) return `it is another banger's: of ${block.owner ?? "an earlier version"}`;
  const lines = (records: readonly NameRecord[]) => records.map(({ name, address }) => `${address} ${name}`);
  const [there, wanted] = [new Set(lines(block.records)), new Set(lines(hostRecords))];
  const missing = hostRecords.filter((record) => !there.has(lines([record])[0]!)).map(({ name }) => name);
  const gone = block.records.filter((record) => !wanted.has(lines([record])[0]!)).map(({ name }) => name);
  const parts = [
    ...(missing.length > 0 ? [`without ${missing.join(", ")}`] : []),
    ...(gone.length > 0 ? [`with ${gone.join(", ")} of before`] : []),
  ];
  return parts.length > 0 ? `stale, ${parts.join(" and ")}: banger dns install` : undefined;
}

/** Shows the steps, asks, and runs them as root. */
async function carryOutSteps(context: Context, steps: readonly SetupStep[], input: Input): Promise<boolean> {
  const { terminal } = context;
  await say(terminal, `banger: as root, this is done:\n${describeSteps(steps)}`);
  if (flag(input, "dryRun")) return false;
  if (!flag(input, "yes") && !(await confirmed(context))) return false;
  const isRoot = await userId(context) === 0;
  if (!isRoot && !(await mayBecomeRoot(context))) {
    throw new BangerError(
      "permission_denied",
      "Cannot change how this host resolves names: it needs root",
      "Run the commands above as root yourself",
    );
  }
  for (const step of steps) await runStep(context, step, isRoot);
  return true;
}

async function mayBecomeRoot({ processes }: Context): Promise<boolean> {
  try {
    return await processes.inherit({ program: "sudo", args: ["-v"] }) === 0;
  } catch (thrown) {
    if (thrown instanceof BangerError && thrown.code === "missing_tool") return false;
    throw thrown;
  }
}

async function runStep(
  { processes }: Context,
  { argv, stdin, mayFail }: SetupStep,
  isRoot: boolean,
): Promise<void> {
  const [program, ...args] = isRoot ? argv : ["sudo", ...argv];
  const options = stdin === undefined ? {} : { stdin: new TextEncoder().encode(stdin) };
  const { code, stderr } = await processes.run({ program: program!, args }, options);
  if (code === 0 || mayFail) return;
  throw new BangerError(
    "host_unsupported",
    `Cannot run ${argv.join(" ")}: ${stderr.trim().split("\n").at(-1) ?? `code ${code}`}`,
    "Undo what was done so far: banger dns uninstall",
  );
}

async function confirmed({ terminal }: Context): Promise<boolean> {
  if (!terminal.stdinIsTerminal) {
    throw new BangerError(
      "invalid_argument",
      "Cannot ask whether to go on: standard input is no terminal",
      "Say so: --yes; or only look: --dry-run",
    );
  }
  await terminal.writeStderr(new TextEncoder().encode("Go on? [y/N] "));
  const buffer = new Uint8Array(64);
  const count = await terminal.readStdin(buffer);
  return /^\s*y(es)?\s*$/i.test(new TextDecoder().decode(buffer.subarray(0, count ?? 0)));
}

function wantedKind(input: Input): SetupKind | undefined {
  const text = textOption(input, "method");
  const kind = SETUP_KINDS.find((kind) => kind === text);
  if (text === undefined || kind) return kind;
  throw new BangerError(
    "invalid_argument",
    `Cannot use ${JSON.stringify(text)} for --method`,
    `Choose one of ${SETUP_KINDS.join(", ")}`,
  );
}

/** @returns why systemd-resolved does not ask the daemon, though it has the link; undefined where it does */
function linkProblem({ isServing, problem, holdsLink, linkProblem }: DnsStatusView): string | undefined {
  if (holdsLink) return undefined;
  return linkProblem ?? (isServing ? "the daemon does not see its link" : problem);
}

/** What is left to the user, told after an installation. */
async function whatNext(context: Context, kind: SetupKind): Promise<string> {
  const client = await context.daemon.connect();
  // Asked anew: the daemon takes the link when it is asked.
  const dns = await (await client.v1.dns.$get()).json();
  if (kind === "systemd-resolved") {
    const problem = linkProblem(dns);
    return problem === undefined ? ": while the daemon runs" : `, but ${problem}`;
  }
  if (kind !== "hosts-file") return "";
  return dns.followsHosts
    ? ": the daemon keeps it up to date"
    : ": these are the VMs of now; after new ones, as root again: banger dns install";
}

const install: Command = {
  path: ["dns", "install"],
  summary: "make this host resolve NAME.vm",
  details:
    "Shows what it will change, asks, and does it: systemd-resolved gets a link that leads .vm to banger's\n" +
    "name server while the daemon runs, NetworkManager's dnsmasq a file, and where there is neither, /etc/hosts\n" +
    "a block with the VMs. A daemon of root keeps that block up to date; else run this again after new VMs:\n" +
    "banger dns status says when. Undone by banger dns uninstall.",
  options: [
    { flags: "--method <method>", summary: SETUP_KINDS.join(", ") },
    YES_OPTION,
    DRY_RUN_OPTION,
  ],
  async run(context, input) {
    const wanted = wantedKind(input);
    const client = await context.daemon.connect();
    const dns = await (await client.v1.dns.$get()).json();
    const kind = wanted ?? await firstThat(context, detection) ?? "hosts-file";
    if (!dns.isServing && kind !== "hosts-file") {
      throw new BangerError("wrong_state", `Cannot lead names to banger's name server: ${dns.problem}`);
    }
    const steps = installPlan(kind, await gatherFacts(context, dns));
    if (!(await carryOutSteps(context, steps, input))) return 0;
    await say(context.terminal, `banger: done, by ${kind}${await whatNext(context, kind)}`);
    return 0;
  },
};

const uninstall: Command = {
  path: ["dns", "uninstall"],
  summary: "undo banger dns install",
  options: [YES_OPTION, DRY_RUN_OPTION],
  async run(context, input) {
    const steps: SetupStep[] = [];
    const hosts = await context.processes.run({ program: "cat", args: [HOSTS_PATH] });
    for (const kind of SETUP_KINDS) {
      if (await succeeds(context, probe(kind))) {
        steps.push(...uninstallPlan(kind, { hostsText: hosts.stdout }));
      }
    }
    if (steps.length === 0) await say(context.terminal, "banger: nothing of banger's is there to undo");
    else if (await carryOutSteps(context, steps, input)) await say(context.terminal, "banger: undone");
    return 0;
  },
};

const status: Command = {
  path: ["dns", "status"],
  summary: "show banger's name server and whether this host asks it",
  options: [{ flags: "--json", summary: "as JSON" }],
  async run(context, input) {
    const client = await context.daemon.connect();
    const dns = await (await client.v1.dns.$get()).json();
    const installed = await firstThat(context, probe);
    const problem = installed === "hosts-file"
      ? hostsProblem(await hostsText(context), dns)
      : installed === "systemd-resolved"
      ? linkProblem(dns)
      : undefined;
    const [first] = dns.records;
    const resolves = first && await succeeds(context, ["getent", "ahostsv4", first.name]);
    if (flag(input, "json")) {
      const about = { installed: installed ?? null, installedProblem: problem ?? null };
      await printJson(context.terminal, { ...dns, ...about, resolves: resolves ?? null });
      return 0;
    }
    await print(
      context.terminal,
      fields([
        ["Name server", `${dns.address}:${dns.port}${dns.isServing ? "" : `, but ${dns.problem}`}`],
        [
          "Installed",
          installed === undefined
            ? "no: banger dns install"
            : `${installed}${problem === undefined ? "" : `, but ${problem}`}`,
        ],
        [
          "Resolves",
          first && (resolves ? `yes: ${first.name}` : `no: this host does not know ${first.name}`),
        ],
        ...dns.records.map(({ name, address }): [string, string] => [name, address]),
      ]),
    );
    return 0;
  },
};

export const DNS_COMMANDS: readonly Command[] = [install, status, uninstall];
