import type { ChangeNetwork, VmPortsView } from "../../api/network_contract.ts";
import { type Command, flag, type Input, requiredArgument } from "../command.ts";
import { NETWORK_OPTIONS, networkRequest } from "../network_flags.ts";
import { age, fields, print, printJson, say, table, visibleLines } from "../output.ts";

const JSON_OPTION = { flags: "--json", summary: "as JSON" } as const;
const VM_ARGUMENT = { name: "vm", summary: "its name", completes: "vm" } as const;

const ports: Command = {
  path: ["vm", "ports"],
  aliases: [["ports"]],
  summary: "show where a VM's ports are on this host, and what it was refused",
  details:
    "Whatever listens in a VM is at the same port of the VM's own loopback address, within a second. With\n" +
    "--denied, what the VM tried to reach and its network policy did not allow.",
  arguments: [VM_ARGUMENT],
  options: [{ flags: "--denied", summary: "what the network policy refused" }, JSON_OPTION],
  async run({ daemon, terminal, clock }, input) {
    const client = await daemon.connect();
    const view = await (await client.v1.vms[":name"].ports.$get({
      param: { name: requiredArgument(input, 0) },
    })).json();
    if (flag(input, "json")) {
      await printJson(terminal, flag(input, "denied") ? view.denied : view);
      return 0;
    }
    if (flag(input, "denied")) {
      await print(terminal, deniedText(view, clock.now()));
      return 0;
    }
    await print(
      terminal,
      table(
        ["GUEST PORT", "HOST", "LINK", "NOTE"],
        view.ports.map((port) => [
          String(port.guestPort),
          port.hostPort === undefined ? "-" : `${port.hostAddress}:${port.hostPort}`,
          port.url ?? "",
          visibleLines(port.note ?? ""),
        ]),
      ),
    );
    const why = emptyReason(view);
    if (why) await say(terminal, `banger: ${why}`);
    return 0;
  },
};

function emptyReason(view: VmPortsView): string | undefined {
  if (view.network === "none") return `VM ${view.name} has no network`;
  if (view.state !== "running") return `VM ${view.name} is ${view.state}: its ports are here while it runs`;
  if (view.truncated) return "more listens in the VM than is forwarded";
  if (view.ports.length > 0) return undefined;
  if (!view.forward) return "nothing is forwarded: the VM was made with --no-forward";
  return view.isWatching ? "nothing listens in the VM" : "the VM does not tell yet what listens in it";
}

/** Read by agents as well as by people: it says what a refusal means. */
const POLICY_ADVICE =
  "These were refused by this VM's network policy, on purpose. Do not work around it (other hosts, ports,\n" +
  "proxies, tunnels): if the work needs one of them, ask the person who runs this VM to allow it:";

function deniedText(view: VmPortsView, nowMs: number): string {
  if (view.denied.length === 0) return "Nothing was refused.";
  const rows = view.denied.map(({ protocol, target, port, why, count, lastAt }) => [
    visibleLines(port === undefined ? target : `${target}:${port}`),
    protocol,
    String(count),
    `${age(lastAt, nowMs)} ago`,
    visibleLines(why),
  ]);
  const first = view.denied[0]!;
  const example = first.port === undefined ? first.target : `${first.target}:${first.port}`;
  return [
    table(["TARGET", "PROTOCOL", "TIMES", "LAST", "WHY"], rows),
    "",
    POLICY_ADVICE,
    `  banger vm network ${view.name} ${
      view.allow.map((rule) => `--allow-net '${rule}' `).join("")
    }--allow-net ${visibleLines(example)}`,
  ].join("\n");
}

const network: Command = {
  path: ["vm", "network"],
  summary: "show or change what a VM publishes and may reach",
  details:
    "Without options, shows the VM's network settings. With options, changes those that are named, at once\n" +
    "where the VM runs. --allow-net and --deny-net say all that it may reach: the new words replace the old.\n" +
    "This host's own services and cloud metadata are refused unless they are named by address; the host\n" +
    "itself is host.banger.internal (10.0.2.2) in the VM.",
  arguments: [VM_ARGUMENT],
  options: [
    ...NETWORK_OPTIONS,
    { flags: "--unpublish", summary: "publish nothing any more" },
    { flags: "--default-net", summary: "it may reach what the configuration says" },
    JSON_OPTION,
  ],
  async run({ daemon, terminal }, input) {
    const json = changeOf(input);
    const client = await daemon.connect();
    const route = client.v1.vms[":name"];
    const param = { name: requiredArgument(input, 0) };
    const view = Object.keys(json).length === 0
      ? await (await route.ports.$get({ param })).json()
      : await (await route.network.$post({ param, json })).json();
    if (flag(input, "json")) {
      const { forward, publish, allow, network } = view;
      await printJson(terminal, { network, forward, publish, allow });
    } else {
      await print(terminal, fields(settingsFields(view)));
    }
    return 0;
  },
};

function changeOf(input: Input): ChangeNetwork {
  return {
    ...networkRequest(input),
    ...(flag(input, "unpublish") ? { publish: [] } : {}),
    ...(flag(input, "defaultNet") ? { allowNet: null } : {}),
  };
}

function settingsFields(view: VmPortsView): [string, string | undefined][] {
  return [
    ["Network", view.network],
    ["Address", view.network === "none" ? undefined : view.address],
    ["Forwards", view.forward ? "whatever listens in it" : "only what is published"],
    ["Publishes", view.publish.join(", ") || "nothing"],
    ["May reach", view.allow.join(", ") || "nothing"],
  ];
}

const bridge: Command = {
  path: ["network", "bridge"],
  summary: "show bridge mode on this host",
  details:
    "Shows the VMs that run in bridge mode (vm create --network bridge, as root) and their taps. With\n" +
    "--dry-run, the commands and the nftables rules that the next of them would bring about, and nothing is done.",
  options: [{ flags: "--dry-run", summary: "what would be done, as commands" }, JSON_OPTION],
  async run({ daemon, terminal }, input) {
    const client = await daemon.connect();
    const { guests, plan } = await (await client.v1.bridge.$get()).json();
    if (flag(input, "json")) await printJson(terminal, { guests, plan });
    else if (flag(input, "dryRun")) await print(terminal, plan);
    else await print(terminal, table(["ADDRESS", "TAP"], guests.map(({ address, tap }) => [address, tap])));
    return 0;
  },
};

export const NETWORK_COMMANDS: readonly Command[] = [ports, network, bridge];
