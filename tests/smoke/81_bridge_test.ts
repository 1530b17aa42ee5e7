/**
 * Bridge mode in a network namespace that the test makes: the daemon and its machines live in one that stands
 * for this host, and the world is another. Nothing of the real host's network is touched.
 */
import assert from "node:assert/strict";
import { joinByUplink } from "../host/net/namespace_host.ts";
import { BANGER, banger, daemonPid, HOME, isAlive, ok, removing, runProgram, until } from "./fixture.ts";

const HOST_SIDE = `banger-host-${Deno.pid}`;
const WORLD = `banger-world-${Deno.pid}`;
const SERVER = `
import http.server
class Who(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(self.client_address[0].encode())
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("", 80), Who).serve_forever()
`;

/** Runs in the namespace that stands for this host. */
function onHost(...command: string[]) {
  return runProgram("ip", "netns", "exec", HOST_SIDE, ...command);
}

async function must(...command: string[]): Promise<string> {
  const [program, ...args] = command;
  const { code, stdout, stderr } = await runProgram(program!, ...args);
  assert.equal(code, 0, `${command.join(" ")}: ${stderr}`);
  return stdout;
}

/** All that bridge mode could have left behind. */
async function snapshot(): Promise<Record<string, string>> {
  const text = async (...command: string[]) => (await onHost(...command)).stdout;
  return {
    links: (await text("ip", "-o", "link")).replaceAll(/^\d+: /gm, ""),
    addresses: (await text("ip", "-o", "address")).replaceAll(/^\d+: /gm, ""),
    routes: await text("ip", "route", "show", "table", "all"),
    rules: await text("nft", "list", "ruleset"),
    sockets: await text("ss", "-Htuln"),
    forwarding: await text("cat", "/proc/sys/net/ipv4/ip_forward"),
  };
}

async function twoNamespaces(): Promise<AsyncDisposable> {
  await must("ip", "netns", "add", HOST_SIDE);
  await must("ip", "netns", "add", WORLD);
  await joinByUplink(HOST_SIDE, WORLD);
  const server = new Deno.Command("ip", {
    args: ["netns", "exec", WORLD, "python3", "-c", SERVER],
    stdout: "null",
    stderr: "null",
  }).spawn();
  return {
    async [Symbol.asyncDispose]() {
      server.kill("SIGKILL");
      await server.status;
      await must("ip", "netns", "del", WORLD);
      await must("ip", "netns", "del", HOST_SIDE);
    },
  };
}

/** The suite's own daemon, in the namespace; the next command of another scenario starts one outside again. */
async function daemonInside(): Promise<AsyncDisposable> {
  await banger(["daemon", "stop"]);
  await startInside();
  return {
    async [Symbol.asyncDispose]() {
      await banger(["daemon", "stop", "--force"]);
    },
  };
}

async function startInside(): Promise<void> {
  await must("ip", "netns", "exec", HOST_SIDE, BANGER, "daemon", "start");
}

function inVm(vm: string, ...command: string[]) {
  return banger(["vm", "exec", vm, "--", ...command]);
}

const fetchWorld = ["curl", "-sS", "--max-time", "10", "http://192.0.2.2/"];

const isRoot = Deno.uid() === 0;
if (!isRoot) console.log("skipped: bridge mode, which only root may set up");

Deno.test({
  name: "bridge mode, from nothing to nothing",
  ignore: !isRoot,
  async fn(t) {
    await using _namespaces = await twoNamespaces();
    const before = await snapshot();
    await using _daemon = await daemonInside();
    const port = JSON.parse(await ok(["dns", "status", "--json"])).port as number;
    {
      await using _a = removing("br-a");
      await using _b = removing("br-b");
      const plan = await ok(["network", "bridge", "--dry-run"]);
      assert.match(plan, /^ip link add name banger0/m);
      assert.match(plan, /masquerade/);
      assert.deepEqual((await snapshot()).rules, before.rules, "a plan changes nothing");
      const make = (
        name: string,
      ) => ["vm", "create", "-n", name, "-m", "512M", "--network", "bridge", "--quiet"];
      await Promise.all(["br-a", "br-b"].map((name) => ok(make(name))));
      const address = async (name: string) =>
        JSON.parse(await ok(["vm", "show", name, "--json"])).address as string;
      const [a, b] = [await address("br-a"), await address("br-b")];

      await t.step("the world is reached through this host's address", async () => {
        assert.equal((await inVm("br-a", ...fetchWorld)).stdout, "192.0.2.1");
        assert.equal((await inVm("br-b", ...fetchWorld)).stdout, "192.0.2.1");
      });

      await t.step("this host reaches the guests, by name, too", async () => {
        await ok([
          "vm",
          "exec",
          "br-a",
          "--",
          "sh",
          "-c",
          "setsid python3 -m http.server 3000 > /dev/null 2>&1 & sleep 1",
        ]);
        await until(
          async () => (await onHost("curl", "-sS", `http://${a}:3000/`)).code === 0,
          "br-a's server answers",
        );
        const dig = await onHost("dig", "@127.0.0.1", "-p", String(port), "+short", "br-a.vm");
        assert.equal(dig.stdout.trim(), a);
        const shown = new RegExp(`3000 +${a.replaceAll(".", "\\.")}:3000`);
        await until(async () => shown.test(await ok(["vm", "ports", "br-a"])), "vm ports shows the port");
      });

      await t.step("guests do not reach each other, nor this host, nor with another's address", async () => {
        assert.notEqual((await inVm("br-b", "curl", "-sS", "--max-time", "4", `http://${a}:3000/`)).code, 0);
        const own = await inVm("br-b", "curl", "-sS", "--max-time", "4", "http://10.69.0.1:8080/");
        assert.equal(own.code, 7, own.stderr);
        assert.match(await ok(["vm", "ports", "br-b", "--denied"]), /10\.69\.0\.1:8080 +tcp/);
        const forged = await inVm(
          "br-b",
          "sh",
          "-c",
          `ip addr add ${a}/32 dev eth0 && curl -sS --max-time 3 --interface ` +
            `${a} http://192.0.2.2/; code=$?; ip addr del ${a}/32 dev eth0; exit $code`,
        );
        assert.notEqual(forged.code, 0);
        const name = await inVm("br-b", "getent", "ahostsv4", "host.banger.internal");
        assert.match(name.stdout, /^10\.69\.0\.1 /);
      });

      await t.step("a policy holds at once, and heals what somebody changed by hand", async () => {
        await ok(["vm", "network", "br-a", "--deny-net"]);
        assert.equal((await inVm("br-a", ...fetchWorld)).code, 7);
        assert.match(await ok(["vm", "ports", "br-a", "--denied"]), /192\.0\.2\.2:80 +tcp/);
        assert.equal((await onHost("nft", "flush", "chain", "inet", "banger", "from_guest")).code, 0);
        await ok(["vm", "network", "br-a", "--allow-net", "192.0.2.2:80"]);
        assert.equal((await inVm("br-a", ...fetchWorld)).stdout, "192.0.2.1");
        assert.equal((await inVm("br-a", "curl", "-sS", "--max-time", "4", "http://192.0.2.2:81/")).code, 7);
      });

      await t.step(
        "a tap that was deleted is there again after a restart; the pool is not outgrown",
        async () => {
          const { guests } = JSON.parse(await ok(["network", "bridge", "--json"])) as {
            guests: { address: string; tap: string }[];
          };
          const { tap } = guests.find((guest) => guest.address === b)!;
          assert.equal((await onHost("ip", "link", "delete", tap)).code, 0);
          await ok(["vm", "stop", "--force", "--quiet", "br-b"]);
          await ok(["vm", "start", "--quiet", "br-b"]);
          assert.equal((await inVm("br-b", ...fetchWorld)).stdout, "192.0.2.1");
          const taps = (await onHost("ip", "-o", "link")).stdout.match(/\bbgr\d+:/g) ?? [];
          assert.equal(taps.length, 6, "two in use, four spare");
        },
      );

      await t.step("a killed daemon leaves the guests their network, and the next one knows it", async () => {
        const pid = await daemonPid();
        Deno.kill(pid, "SIGKILL");
        await until(() => !isAlive(pid), "the daemon is gone");
        await startInside();
        assert.equal((await inVm("br-a", ...fetchWorld)).stdout, "192.0.2.1");
        await ok(["vm", "rm", "--force", "--quiet", "br-a"]);
        assert.equal((await inVm("br-b", ...fetchWorld)).stdout, "192.0.2.1", "the other's is untouched");
        const killed = await daemonPid();
        Deno.kill(killed, "SIGKILL");
        await until(() => !isAlive(killed), "the daemon is gone");
        await startInside();
      });
    }
    await ok(["daemon", "stop"]);
    await until(async () => (await snapshot()).links === before.links, "the links are as before");
    assert.deepEqual(await snapshot(), before);
    assert.equal(
      await Deno.stat(`${HOME}/.local/state/banger/bridge.json`).catch(() => undefined),
      undefined,
    );
  },
});
