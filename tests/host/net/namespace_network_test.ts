/**
 * The network of a machine in a namespace of its own, without a machine: a process in that namespace opens the tap as
 * Firecracker does, and a guest's kernel is on the other side of it. The namespace, the tap, the way into it and the
 * relay's part are the real ones.
 */
import assert from "node:assert/strict";
import type { ProcessIdentity } from "../../../lib/base/host.ts";
import { runNetworkRole } from "../../../lib/daemon/network_role.ts";
import { askControl } from "../../../lib/net/control.ts";
import { writeNetworkSettings } from "../../../lib/net/settings.ts";
import { libc } from "../../../lib/sys/libc.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { networkFiles } from "../../../lib/store/paths.ts";
import {
  inNamespace,
  NAMESPACE_CARD,
  NAMESPACE_MTU,
  NAMESPACE_TAP,
  namespacePrograms,
  obstacleToNamespace,
} from "../../../lib/vmm/firecracker/namespace.ts";
import { reaped } from "../vmm/tiny_guest.ts";
import { whyNoNamespaces } from "./tap_guest.ts";

const MAC = "52:54:00:42:00:01";
const OFFER = [
  Deno.execPath(),
  "run",
  "-A",
  "--no-check",
  "--unstable-net",
  new URL("../vm/relay.ts", import.meta.url).pathname,
];
const host = realHost();
libc(); // loaded once, for good
/** Who waits for the next look waits no longer than this. */
const SOON_MS = 50;
const hasty = {
  ...host,
  clock: {
    ...host.clock,
    sleep: (ms: number, signal?: AbortSignal) => host.clock.sleep(Math.min(ms, SOON_MS), signal),
  },
};
const why = await whyNoNamespaces() ?? (await obstacleToNamespace(host, false))?.why;
if (why) console.log(`skipped: the network of a machine in a namespace of its own: ${why}`);

/**
 * Source of the constants: firecracker src/vmm/src/devices/virtio/net/tap.rs: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, a
 * header of 12 bytes; offloads as a Linux guest negotiates them.
 */
const OPEN_TAP = `
import fcntl, os, socket, struct, sys, threading
def tap(name):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", name, 0x5002))
    fcntl.ioctl(fd, 0x400454D8, struct.pack("i", 12))
    fcntl.ioctl(fd, 0x400454D0, 0x07)
    return fd
`;
const VMM = `${OPEN_TAP}
fd = tap(b"${NAMESPACE_TAP}")
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
socket.send_fds(s, [b"x"], [fd])
s.recv(1)
`;
/** virtio-net's part: what one side sends with its header, the other gets with its header. */
const GUEST = `${OPEN_TAP}
guest = tap(b"eth0")
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(1)
os.write(1, b"ready")
connection, _ = listener.accept()
vmm = socket.recv_fds(connection, 1, 1)[1][0]
def copy(a, b):
    while True: os.write(b, os.read(a, 70000))
threading.Thread(target=copy, args=(guest, vmm), daemon=True).start()
copy(vmm, guest)
`;

interface Bench extends AsyncDisposable {
  readonly directory: string;
  readonly vmm: ProcessIdentity;
  /** Runs in the guest. */
  python(program: string, ...args: string[]): Promise<string>;
  relay(signal: AbortSignal): Promise<void>;
}

async function bench(): Promise<Bench> {
  await using stack = new AsyncDisposableStack();
  const directory = await Deno.makeTempDir({ prefix: "banger-ns-" });
  stack.defer(() => Deno.remove(directory, { recursive: true }));
  const name = `banger-ns-${Deno.pid}`;
  const ip = async (...args: string[]) => {
    const { code, stderr } = await host.processes.run({ program: "ip", args });
    assert.equal(code, 0, `ip ${args.join(" ")}: ${stderr}`);
  };
  await ip("netns", "add", name);
  stack.defer(() => ip("netns", "del", name));
  const guest = new Deno.Command("ip", {
    args: ["netns", "exec", name, "python3", "-c", GUEST, `${directory}/guest.sock`],
    stdout: "piped",
  }).spawn();
  stack.defer(async () => {
    guest.kill("SIGKILL");
    await guest.stdout.cancel();
    await guest.status;
  });
  const ready = guest.stdout.getReader();
  assert.match(new TextDecoder().decode((await ready.read()).value), /ready/);
  ready.releaseLock();
  await ip("-n", name, "link", "set", "eth0", "address", MAC, "mtu", `${NAMESPACE_MTU}`, "up");
  await ip("-n", name, "addr", "add", "10.0.2.15/24", "dev", "eth0");
  await ip("-n", name, "route", "add", "default", "via", "10.0.2.2", "dev", "eth0");

  const python = (await host.processes.which("python3"))!;
  const command = { program: python, args: ["-c", VMM, `${directory}/guest.sock`] };
  const programs = await namespacePrograms(host);
  const vmm = await host.processes.startDetached(
    inNamespace(command, { hasUserNamespace: true, programs }),
    `${directory}/log`,
  );
  stack.defer(async () => void await host.processes.signal(vmm, "SIGKILL"));
  const paths = { ...networkFiles(directory), tap: `${directory}/tap.sock` };
  await writeNetworkSettings(host.files, paths.settings, {
    vmName: "fc",
    address: "127.42.99.1",
    mac: MAC,
    forward: false,
    publish: [],
    allow: ["host.banger.internal"],
    agent: { kind: "hybrid", path: `${directory}/agent.sock` },
    vmm,
    namespace: { card: NAMESPACE_CARD, hasUserNamespace: true },
  });
  const rest = stack.move();
  return {
    directory,
    vmm,
    async python(program, ...args) {
      const inside = ["netns", "exec", name, "timeout", "60", "python3", "-c", program, ...args];
      const { code, stdout, stderr } = await host.processes.run({ program: "ip", args: inside });
      assert.equal(code, 0, stderr);
      return stdout.trim();
    },
    relay: (signal) => runNetworkRole(hasty, paths, OFFER, signal),
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  };
}

/** Retries, since the relay may not have the card yet; then as many bytes there and back, and what is refused. */
const CLIENT = `
import hashlib, socket, sys, threading, time
port, size = int(sys.argv[1]), int(sys.argv[2])
while True:
    try:
        c = socket.create_connection(("10.0.2.2", port), 2)
        break
    except OSError:
        time.sleep(0.02)
c.settimeout(None)
data = bytes(i % 251 for i in range(65536)) * (size // 65536)
def send():
    c.sendall(data)
    c.shutdown(socket.SHUT_WR)
threading.Thread(target=send, daemon=True).start()
back = hashlib.sha256()
while part := c.recv(1 << 20): back.update(part)
same = back.digest() == hashlib.sha256(data).digest()
try:
    socket.create_connection(("169.254.169.254", 80), 5)
    refused = False
except ConnectionRefusedError:
    refused = True
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.settimeout(20)
u.sendto(b"\\x12\\x34\\x01\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x04host\\x06banger\\x08internal\\x00\\x00\\x01\\x00\\x01", ("10.0.2.3", 53))
answer = u.recv(512)
print(same, refused, socket.inet_ntoa(answer[-4:]))
`;

/** Gives back what it gets. */
function echoServer(): { port: number; close(): void } {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  void (async () => {
    for await (const connection of listener) {
      void connection.readable.pipeTo(connection.writable).catch(() => {}); // the test looks at what comes back
    }
  })();
  return { port: listener.addr.port, close: () => listener.close() };
}

Deno.test({
  name: "a machine in a namespace of its own has the relay's network, after the relay's end as well",
  ignore: why !== undefined,
  async fn() {
    await using machine = await bench();
    const server = echoServer();
    const before = await host.processes.run({ program: "ip", args: ["-o", "link"] });
    for (const round of ["first relay", "next relay"]) {
      const stop = new AbortController();
      const relay = machine.relay(stop.signal);
      relay.catch(() => {}); // awaited below
      const size = 8 * 1024 * 1024;
      assert.equal(await machine.python(CLIENT, `${server.port}`, `${size}`), "True True 10.0.2.2", round);
      const { refusals } = await askControl(host, networkFiles(machine.directory).control, "status") as {
        refusals: { target: string }[];
      };
      assert.deepEqual(refusals.map(({ target }) => target), ["169.254.169.254"], round);
      if (round === "first relay") {
        stop.abort();
      } else {
        // With its VMM, the relay ends by itself.
        await host.processes.signal(machine.vmm, "SIGKILL");
      }
      await relay;
    }
    server.close();
    await reaped(machine.vmm);
    const after = await host.processes.run({ program: "ip", args: ["-o", "link"] });
    assert.equal(after.stdout, before.stdout, "nothing of it is in the host's own namespace");
  },
});
