/** Names, ports and the way out of machines without privilege, as docs/networking.md tells them. */
import assert from "node:assert/strict";
import { BANGER, banger, HOME, killDaemon, ok, refused, removing, runProgram, until } from "./fixture.ts";

const CONFIG = `${HOME}/.config/banger/config.toml`;

function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  return port;
}

/** A port of the name server that no other daemon of this host has, for as long as the scenario lasts. */
async function ownNameServer(): Promise<{ port: number } & AsyncDisposable> {
  const port = freePort();
  const before = await Deno.readTextFile(CONFIG).catch(() => undefined);
  await Deno.mkdir(`${HOME}/.config/banger`, { recursive: true });
  await Deno.writeTextFile(CONFIG, `${before ?? ""}\n[network]\ndns_port = ${port}\n`);
  await banger(["daemon", "stop"]);
  return {
    port,
    async [Symbol.asyncDispose]() {
      if (before === undefined) await Deno.remove(CONFIG);
      else await Deno.writeTextFile(CONFIG, before);
      await banger(["daemon", "stop"]);
    },
  };
}

async function dig(port: number, ...args: string[]): Promise<string> {
  return (await runProgram("dig", "@127.0.0.1", "-p", String(port), "+time=2", "+tries=1", ...args)).stdout;
}

/** A web server in the VM, which listens when this returns. */
async function startServer(vm: string, port: number): Promise<void> {
  await ok([
    "vm",
    "exec",
    vm,
    "--",
    "sh",
    "-c",
    `mkdir -p /srv/web && echo "this is ${vm}" > /srv/web/index.html && cd /srv/web &&
     setsid python3 -m http.server ${port} > /dev/null 2>&1 < /dev/null &
     until curl -s -o /dev/null http://127.0.0.1:${port}/; do sleep 0.1; done`,
  ]);
}

/** @returns what the VM's server says, asked by the address that the name server gives */
async function fetchByName(dnsPort: number, vm: string, port: number): Promise<string> {
  const address = (await dig(dnsPort, "+short", `${vm}.vm`)).trim();
  if (address === "") return "";
  const url = `http://${vm}.vm:${port}/`;
  return (await runProgram("curl", "-sS", "--max-time", "5", "--resolve", `${vm}.vm:${port}:${address}`, url))
    .stdout;
}

/** How far from its first port the server is tried again: a host may look elsewhere for a second. */
const TRIED_AGAIN_AT = [0, 10, 20, 30];

/** Starts servers in a VM that has booted, on that port and where need be on others. One is there within a second. */
async function assertThereWithinASecond(dnsPort: number, vm: string, port: number): Promise<void> {
  await banger(["vm", "exec", vm, "--", "systemctl", "is-system-running", "--wait"]);
  const late: string[] = [];
  for (const beyond of TRIED_AGAIN_AT) {
    await startServer(vm, port + beyond);
    const startedAt = performance.now();
    await until(
      async () => (await fetchByName(dnsPort, vm, port + beyond)) === `this is ${vm}\n`,
      `${vm}:${port + beyond} answers`,
    );
    const tookMs = performance.now() - startedAt;
    // A second of a host that has nothing else to do: each waiting process takes its share.
    const allowedMs = 1000 * Math.max(1, 2 * Deno.loadavg()[0]! / navigator.hardwareConcurrency);
    if (tookMs < allowedMs) return;
    late.push(`${tookMs.toFixed(0)} ms after it listened, not ${allowedMs.toFixed(0)}`);
  }
  assert.fail(`${vm}:${port} was there ${late.join(", ")}`);
}

/** Of this host's own apt sources. */
async function debianMirror(): Promise<{ url: string; host: string } | undefined> {
  const { stdout } = await runProgram(
    "sh",
    "-c",
    "cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null",
  );
  const url = /^(?:URIs:|deb(?: \[[^\]]*\])?)\s*(http:\/\/[^\s]+)/m.exec(stdout)?.[1];
  return url === undefined ? undefined : { url: url.replace(/\/$/, ""), host: new URL(url).host };
}

Deno.test("machines have names, and their ports are there", async (t) => {
  await using dns = await ownNameServer();
  await using _a = removing("net-a");
  await using _b = removing("net-b");
  await Promise.all(
    ["net-a", "net-b"].map((name) => ok(["vm", "create", "-n", name, "-m", "512M", "--quiet"])),
  );
  const atOnce = await banger(["vm", "ports", "net-b"]);
  assert.doesNotMatch(atOnce.stderr, /does not tell yet/);

  await t.step(
    "a server answers at its name within a second; the same port of two VMs is two servers",
    async () => {
      await assertThereWithinASecond(dns.port, "net-a", 3000);
      await assertThereWithinASecond(dns.port, "net-b", 3000);
      assert.equal(await fetchByName(dns.port, "net-a", 3000), "this is net-a\n");
      const { address, ports } = JSON.parse(await ok(["vm", "ports", "net-a", "--json"]));
      assert.ok(
        ports.some((port: { guestPort: number; hostPort: number }) =>
          port.guestPort === 3000 && port.hostPort
        ),
      );
      assert.equal((await dig(dns.port, "+short", "-x", address)).trim(), "net-a.vm.");
      assert.match(await ok(["vm", "show", "net-a"]), /Port 3000: +(curl --resolve|http:)/);
    },
  );

  await t.step("a server on the guest's loopback only is there, too, and one that ends is not", async () => {
    await ok([
      "vm",
      "exec",
      "net-a",
      "--",
      "sh",
      "-c",
      "cd /srv/web; setsid timeout 20 python3 -m http.server 3001 " +
      "--bind 127.0.0.1 > /dev/null 2>&1 < /dev/null & sleep 1",
    ]);
    await until(
      async () => (await fetchByName(dns.port, "net-a", 3001)) === "this is net-a\n",
      "port 3001 answers",
    );
    await ok(["vm", "exec", "net-a", "--", "pkill", "-f", "http.server 3001"]);
    await until(async () => !/\b3001\b/.test(await ok(["vm", "ports", "net-a"])), "port 3001 is gone");
  });

  await t.step(
    "a published port is where it was asked for; a taken one is refused before anything starts",
    async () => {
      const port = freePort();
      await ok(["vm", "network", "net-a", "--publish", `${port}:3000`]);
      assert.equal((await runProgram("curl", "-sS", `http://127.0.0.1:${port}/`)).stdout, "this is net-a\n");
      const taken = ["vm", "create", "-n", "net-c", "--no-start", "--quiet", "--publish", String(port)];
      await using _c = removing("net-c");
      await ok(taken);
      await refused(["vm", "start", "net-c", "--quiet"], 4, /Cannot publish port \d+ for VM net-c/);
      await ok(["vm", "network", "net-a", "--unpublish"]);
      assert.notEqual((await runProgram("curl", "-sS", `http://127.0.0.1:${port}/`)).code, 0);
    },
  );

  await t.step(
    "a killed daemon cuts no connection, and the names are there again with the next",
    async () => {
      const { address } = JSON.parse(await ok(["vm", "ports", "net-a", "--json"]));
      const connection = await Deno.connect({ hostname: address, port: 3000 });
      await killDaemon();
      await connection.write(new TextEncoder().encode("GET / HTTP/1.0\r\n\r\n"));
      assert.match(await new Response(connection.readable).text(), /this is net-a/);
      await ok(["daemon", "start"]);
      await until(
        async () => (await dig(dns.port, "+short", "net-b.vm")).trim() !== "",
        "names are answered again",
      );
    },
  );

  await t.step("getent agrees, once banger dns install has written the hosts file", async () => {
    if (Deno.uid() !== 0) return console.log("skipped: a hosts file of the test's own needs root (unshare)");
    const { address } = JSON.parse(await ok(["vm", "ports", "net-a", "--json"]));
    const script = `set -e; cp /etc/hosts ${HOME}/hosts; mount --bind ${HOME}/hosts /etc/hosts
      cp /etc/hosts ${HOME}/hosts.before
      ${BANGER} dns install --method hosts-file --yes; getent ahostsv4 net-a.vm; ${BANGER} dns status
      ${BANGER} dns uninstall --yes; cmp /etc/hosts ${HOME}/hosts.before`;
    const { code, stdout, stderr } = await runProgram("unshare", "--mount", "sh", "-c", script);
    assert.equal(code, 0, stderr);
    assert.match(stdout, new RegExp(`^${address} `, "m"));
    assert.match(stdout, /Installed: +hosts-file/);
    assert.match(stderr, /net-b\.vm/, "the change is shown first");
  });

  await t.step("the way out: the mirror is reached, and a policy refuses it and says so", async () => {
    const mirror = await debianMirror();
    if (!mirror) return console.log("skipped: this host has no apt sources over HTTP");
    const fetchMirror = [
      "vm",
      "exec",
      "net-b",
      "--",
      "curl",
      "-sSf",
      "--max-time",
      "60",
      "-o",
      "/dev/null",
      mirror.url + "/",
    ];
    assert.equal((await banger(fetchMirror)).code, 0, "no policy: the mirror is reached");
    await ok(["vm", "network", "net-b", "--deny-net"]);
    assert.notEqual((await banger(fetchMirror)).code, 0);
    const denied = await ok(["vm", "ports", "net-b", "--denied"]);
    assert.match(denied, new RegExp(mirror.host.replace(/:.*$/, "").replaceAll(".", "\\.")));
    assert.match(denied, /Do not work around it/);
    await ok(["vm", "network", "net-b", "--allow-net", mirror.host]);
    assert.equal((await banger(fetchMirror)).code, 0, "the mirror is allowed by name");
  });

  await t.step("this host's own services are out of reach unless they are allowed", async () => {
    const server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: () => {} },
      () => new Response("host"),
    );
    const { port } = server.addr;
    try {
      const ask = [
        "vm",
        "exec",
        "net-a",
        "--",
        "curl",
        "-sS",
        "--max-time",
        "10",
        `http://10.0.2.2:${port}/`,
      ];
      assert.notEqual((await banger(ask)).code, 0);
      await ok(["vm", "network", "net-a", "--allow-net", "*", "--allow-net", `host.banger.internal:${port}`]);
      assert.equal(await ok(ask), "host");
    } finally {
      await server.shutdown();
    }
  });

  await t.step("a removed machine has no name", async () => {
    await ok(["vm", "rm", "--force", "net-a", "--quiet"]);
    assert.match(await dig(dns.port, "net-a.vm"), /status: NXDOMAIN/);
    await refused(["vm", "ports", "net-a"], 3, /Cannot find VM net-a/);
  });
});
