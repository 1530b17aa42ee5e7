import assert from "node:assert/strict";
import type { Host } from "../../../lib/base/host.ts";
import { realHost } from "../../../lib/sys/host.ts";

/** A host whose network is a namespace of its own. */
export interface NamespaceHost extends AsyncDisposable {
  readonly name: string;
  readonly host: Host;
  /** All that bridge mode could change. */
  text(): Promise<string>;
}

/** Joins two namespaces by a link called `uplink` in both: 192.0.2.1 is the host's end, 192.0.2.2 the world's. */
export async function joinByUplink(hostName: string, worldName: string): Promise<void> {
  const ip = async (...args: string[]) => {
    const { code, stderr } = await realHost().processes.run({ program: "ip", args });
    assert.equal(code, 0, `ip ${args.join(" ")}: ${stderr}`);
  };
  const peer = ["peer", "name", "uplink", "netns", worldName];
  await ip("-n", hostName, "link", "add", "uplink", "type", "veth", ...peer);
  for (const [name, address] of [[hostName, "192.0.2.1/24"], [worldName, "192.0.2.2/24"]] as const) {
    await ip("-n", name, "link", "set", "lo", "up");
    await ip("-n", name, "link", "set", "uplink", "addrgenmode", "none", "up");
    await ip("-n", name, "address", "add", address, "dev", "uplink");
  }
}

export async function namespaceHost(): Promise<NamespaceHost> {
  const name = `banger-bridge-${Deno.pid}-${Math.floor(Math.random() * 1e6)}`;
  const real = realHost();
  const inside = ["netns", "exec", name];
  const run: Host["processes"]["run"] = ({ program, args }, options) =>
    real.processes.run({ program: "ip", args: [...inside, program, ...args] }, options);
  const text = async (...command: string[]) =>
    (await run({ program: command[0]!, args: command.slice(1) })).stdout.replaceAll(/^\d+: /gm, "");
  assert.equal((await real.processes.run({ program: "ip", args: ["netns", "add", name] })).code, 0);
  return {
    name,
    host: {
      ...real,
      processes: { ...real.processes, run },
      files: {
        ...real.files,
        readText: (path, maxBytes) =>
          path.startsWith("/proc/sys/") ? text("cat", path) : real.files.readText(path, maxBytes),
      },
    },
    text: async () =>
      [
        await text("ip", "-o", "link"),
        await text("ip", "-o", "address"),
        await text("nft", "list", "ruleset"),
        await text("cat", "/proc/sys/net/ipv4/ip_forward"),
      ].join("\n"),
    async [Symbol.asyncDispose]() {
      await real.processes.run({ program: "ip", args: ["netns", "del", name] });
    },
  };
}
