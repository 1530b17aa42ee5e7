/** Bridge mode with guests that are namespaces on its taps: the kernel's own network says what gets through. */
import assert from "node:assert/strict";
import { BRIDGE_NETWORK } from "../../../lib/base/addresses.ts";
import { parseNetRule } from "../../../lib/base/net_rules.ts";
import { BridgeNetwork } from "../../../lib/net/bridge/bridge_network.ts";
import { joinByUplink, namespaceHost } from "./namespace_host.ts";
import { whyNoNamespaces } from "./tap_guest.ts";

const why = await whyNoNamespaces();
if (why) console.log(`skipped: guests on the bridge: ${why}`);

/** Opens a guest's tap as a VMM would, and a tap in the guest's own namespace, and carries frames between them. */
const CARRY = `
import ctypes, fcntl, os, struct, sys, threading
def tap(name):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH", name, 0x1002))
    return fd
outer = tap(sys.argv[1].encode())
assert ctypes.CDLL(None).setns(os.open("/var/run/netns/" + sys.argv[2], os.O_RDONLY), 0x40000000) == 0
inner = tap(b"eth0")
os.write(1, b"ready")
def carry(a, b):
    while True:
        try: os.write(b, os.read(a, 70000))
        except OSError: pass
threading.Thread(target=carry, args=(outer, inner), daemon=True).start()
carry(inner, outer)
`;
const SERVE = `
import http.server
class Who(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(self.client_address[0].encode())
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("", 80), Who).serve_forever()
`;

async function must(program: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(program, { args }).output();
  assert.equal(code, 0, `${program} ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

async function namespace(stack: AsyncDisposableStack): Promise<string> {
  const name = `banger-guest-${Deno.pid}-${Math.floor(Math.random() * 1e6)}`;
  await must("ip", "netns", "add", name);
  stack.defer(async () => void await must("ip", "netns", "del", name));
  await must("ip", "-n", name, "link", "set", "lo", "up");
  return name;
}

function background(stack: AsyncDisposableStack, where: string, ...args: string[]): Deno.ChildProcess {
  const child = new Deno.Command("ip", {
    args: ["netns", "exec", where, ...args],
    stdout: "piped",
    stderr: "null",
  })
    .spawn();
  stack.defer(async () => {
    child.kill("SIGKILL");
    await child.stdout.cancel();
    await child.status;
  });
  return child;
}

/** @returns what curl got, or its exit code */
async function curl(where: string, url: string, ...options: string[]): Promise<string | number> {
  const { code, stdout } = await new Deno.Command("ip", {
    args: ["netns", "exec", where, "curl", "-s", "--max-time", "1", ...options, url],
  }).output();
  return code === 0 ? new TextDecoder().decode(stdout) : code;
}

interface Guest {
  readonly id: string;
  readonly address: string;
  readonly mac: string;
}

const A: Guest = { id: "a", address: "10.69.0.2", mac: "52:54:00:42:00:01" };
const B: Guest = { id: "b", address: "10.69.0.3", mac: "52:54:00:42:00:02" };

async function startGuest(
  stack: AsyncDisposableStack,
  hostName: string,
  guest: Guest,
  tap: string,
): Promise<string> {
  const name = await namespace(stack);
  const carrier = background(stack, hostName, "python3", "-c", CARRY, tap, name);
  const lines = carrier.stdout.getReader();
  assert.match(new TextDecoder().decode((await lines.read()).value), /ready/);
  lines.releaseLock();
  await must("ip", "-n", name, "link", "set", "eth0", "address", guest.mac, "up");
  await must(
    "ip",
    "-n",
    name,
    "address",
    "add",
    `${guest.address}/${BRIDGE_NETWORK.prefixLength}`,
    "dev",
    "eth0",
  );
  await must(
    "ip",
    "-n",
    name,
    "route",
    "add",
    "default",
    "via",
    BRIDGE_NETWORK.gateway,
    "dev",
    "eth0",
    "onlink",
  );
  background(stack, name, "python3", "-c", SERVE);
  return name;
}

/** Beyond the host: it has no way back to the guests' addresses, so only NAT gets there. */
async function startWorld(stack: AsyncDisposableStack, hostName: string): Promise<string> {
  const name = await namespace(stack);
  await joinByUplink(hostName, name);
  await must("ip", "-n", hostName, "route", "add", "default", "via", "192.0.2.2");
  background(stack, name, "python3", "-c", SERVE);
  background(stack, hostName, "python3", "-c", SERVE);
  return name;
}

async function eventually(what: string, act: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; !(await act()); attempt++) {
    assert.ok(attempt < 60, what);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

Deno.test({
  name: "guests on the bridge: NAT, isolation, own addresses only, policies at once, and what was refused",
  ignore: why !== undefined,
  async fn() {
    await using space = await namespaceHost();
    const directory = await Deno.makeTempDir({ prefix: "banger-bridge-" });
    await using stack = new AsyncDisposableStack();
    stack.defer(() => Deno.remove(directory, { recursive: true }));
    await startWorld(stack, space.name);
    const bridge = new BridgeNetwork(space.host, `${directory}/bridge.json`);
    const open = { allow: [parseNetRule("*")] };
    const tapA = await bridge.attach({ ...A, ...open });
    const a = await startGuest(stack, space.name, A, tapA);
    const b = await startGuest(stack, space.name, B, await bridge.attach({ ...B, ...open }));
    const world = "http://192.0.2.2/";
    await eventually("the world is reached", async () => (await curl(a, world)) === "192.0.2.1");
    assert.equal(await curl(b, world), "192.0.2.1", "through the host's address");
    assert.equal(
      await curl(space.name, `http://${A.address}/`),
      BRIDGE_NETWORK.gateway,
      "the host reaches a guest",
    );

    // Neither each other, nor the host, at none of its addresses, nor cloud metadata.
    assert.notEqual(await curl(b, `http://${A.address}/`), BRIDGE_NETWORK.gateway);
    for (const target of [A.address, BRIDGE_NETWORK.gateway, "192.0.2.1", "169.254.169.254"]) {
      assert.equal(typeof await curl(b, `http://${target}/`), "number", `${target} is out of reach`);
    }
    const refused = (await bridge.refusals(B.address)).map(({ target, port }) => `${target}:${port}`);
    for (const target of [BRIDGE_NETWORK.gateway, "192.0.2.1", "169.254.169.254"]) {
      assert.ok(refused.includes(`${target}:80`), `${target} is among ${refused}`);
    }

    // With another's address, nothing gets anywhere.
    await must("ip", "-n", b, "address", "add", "10.69.0.9/32", "dev", "eth0");
    assert.equal(typeof await curl(b, world, "--interface", "10.69.0.9"), "number");

    await bridge.attach({ ...A, allow: [] });
    assert.equal(await curl(a, world), 7, "refused at once");
    assert.ok(
      (await bridge.refusals(A.address)).some(({ target, port }) => target === "192.0.2.2" && port === 80),
    );
    await bridge.pin("a", [{ address: "192.0.2.2", port: 80 }]);
    assert.equal(await curl(a, world), "192.0.2.1", "what a name was resolved to");
    assert.equal(await curl(a, "http://192.0.2.2:81/"), 7, "and no other port of it");
    await bridge.attach({ ...A, allow: [parseNetRule(`${BRIDGE_NETWORK.gateway}:80`)] });
    assert.equal(
      await curl(a, `http://${BRIDGE_NETWORK.gateway}/`),
      A.address,
      "the host, where its address is allowed",
    );
    assert.equal(await curl(b, world), "192.0.2.1", "the other guest is untouched");

    // Rules that somebody changed by hand are right again after the next change.
    await must("ip", "netns", "exec", space.name, "nft", "flush", "chain", "inet", "banger", "forward");
    await bridge.attach({ ...A, allow: [] });
    assert.equal(typeof await curl(b, `http://${A.address}/`), "number");
    await bridge.detach("a");
    await bridge.detach("b");
    await bridge.shutDown();
    const links = await must("ip", "-n", space.name, "-o", "link");
    assert.doesNotMatch(links, /banger0|bgr/);
    assert.equal((await must("ip", "netns", "exec", space.name, "nft", "list", "ruleset")).trim(), "");
  },
});
