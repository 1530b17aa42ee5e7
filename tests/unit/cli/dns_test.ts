import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import type { Context } from "../../../lib/cli/command.ts";
import { DNS_COMMANDS } from "../../../lib/cli/commands/dns.ts";
import { installPlan } from "../../../lib/net/dns/host_setup.ts";

const OWNER = "/home/me/.local/state/banger";
const WEB = { name: "web.vm", address: "127.42.0.1" };
const DB = { name: "db.vm", address: "127.42.0.2" };
const STATUS = {
  ...{ address: "127.0.0.1", port: 42069, isServing: true, owner: OWNER },
  ...{ records: [WEB], hostRecords: [WEB, DB], followsHosts: false, holdsLink: false },
};

interface World {
  readonly uid?: number;
  readonly hosts?: string;
  /** Programs that succeed, by their command lines. */
  readonly works?: readonly string[];
  readonly status?: object;
}

/** Runs one of the commands. @returns what was printed and run */
async function run(verb: string, options: Record<string, string | boolean>, world: World) {
  const printed: string[] = [];
  const ran: string[] = [];
  const write = (bytes: Uint8Array) => Promise.resolve(void printed.push(new TextDecoder().decode(bytes)));
  const answer = (code: number, stdout = "") => Promise.resolve({ code, stdout, stderr: "" });
  const context = {
    terminal: { writeStdout: write, writeStderr: write, stdinIsTerminal: false },
    processes: {
      run({ program, args }: { program: string; args: string[] }) {
        const line = [program, ...args].join(" ");
        if (line === "id -u") return answer(0, `${world.uid ?? 1000}\n`);
        if (line === "cat /etc/hosts") return answer(0, world.hosts ?? "");
        ran.push(line);
        return answer(world.works?.includes(line) ? 0 : 1);
      },
      inherit: () => Promise.reject(new BangerError("missing_tool", "Cannot run sudo: it is not installed")),
    },
    daemon: {
      connect: () =>
        Promise.resolve({
          v1: { dns: { $get: () => Promise.resolve(Response.json({ ...STATUS, ...world.status })) } },
        }),
    },
  } as unknown as Context;
  const command = DNS_COMMANDS.find(({ path }) => path[1] === verb)!;
  const code = await command.run(context, { arguments: [], options });
  return { code, text: printed.join(""), ran };
}

const block = (records: typeof STATUS.hostRecords, owner = OWNER) =>
  installPlan("hosts-file", { ...STATUS, uid: 0, owner, records, hostsText: "" })[0]!.stdin!;
const HOSTS_PROBE = "grep -qxF # banger begin: names of VMs; changes here are lost /etc/hosts";
const UNIT_PROBE = "test -e /etc/systemd/system/banger-dns.service";

const HOSTS: readonly (readonly [string, string, RegExp])[] = [
  ["up to date", block([DB, WEB]), /Installed: +hosts-file\n/],
  ["without a new VM", block([WEB]), /hosts-file, but stale, without db\.vm: banger dns install/],
  [
    "with one that is gone, and another's address",
    block([WEB, { ...DB, address: "127.42.0.9" }]),
    /stale, without db\.vm and with db\.vm of before: banger dns install/,
  ],
  ["of another banger", block([WEB], "/root/x"), /but it is another banger's: of \/root\/x/],
];
for (const [why, hosts, expected] of HOSTS) {
  Deno.test(`dns status: a hosts file ${why}`, async () => {
    assert.match((await run("status", {}, { hosts, works: [HOSTS_PROBE] })).text, expected);
  });
}

const LINKS: readonly (readonly [string, object, RegExp])[] = [
  ["held", { holdsLink: true }, /Installed: +systemd-resolved\n/],
  ["another's", { linkProblem: "it was made for another user" }, /but it was made for another user/],
  ["not seen", {}, /but the daemon does not see its link/],
  [
    "of no use",
    { isServing: false, problem: "somebody else listens" },
    /resolved, but somebody else listens/,
  ],
];
for (const [why, status, expected] of LINKS) {
  Deno.test(`dns status: a link for systemd-resolved that is ${why}`, async () => {
    assert.match((await run("status", {}, { status, works: [UNIT_PROBE] })).text, expected);
  });
}

Deno.test("dns install shows everything, and without sudo says what to do", async () => {
  const shown = await run("install", { dryRun: true }, {});
  assert.match(shown.text, /tee \/etc\/hosts[\s\S]*127\.42\.0\.2 db\.vm/);
  await assert.rejects(
    run("install", { yes: true }, {}),
    (thrown) => thrown instanceof BangerError && /as root yourself/.test(thrown.hint ?? ""),
  );
  await assert.rejects(run("install", {}, {}), /standard input is no terminal/);
});

Deno.test("dns install tells who keeps the hosts file up to date", async () => {
  const works = ["tee /etc/hosts"];
  const kept = await run("install", { yes: true }, { uid: 0, works, status: { followsHosts: true } });
  assert.match(kept.text, /done, by hosts-file: the daemon keeps it up to date/);
  const left = await run("install", { yes: true }, { uid: 0, works });
  assert.match(left.text, /these are the VMs of now; after new ones, as root again: banger dns install/);
  await assert.rejects(run("install", { yes: true }, { uid: 0 }), /Cannot run tee \/etc\/hosts/);
});
