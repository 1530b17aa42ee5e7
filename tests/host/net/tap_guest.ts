/**
 * A guest without a machine: a network namespace whose kernel has a tap, and whose frames come out of a Unix
 * socket as QEMU gives them. So our network is judged by the kernel's TCP, and by curl and dig.
 */
import assert from "node:assert/strict";
import { realHost } from "../../../lib/sys/host.ts";
import { parseNetRule } from "../../../lib/base/net_rules.ts";
import { UserNetwork } from "../../../lib/net/user/user_network.ts";

const MAC = "52:54:00:42:00:01";

/** Frames between the tap and the socket, each behind its length. */
const BRIDGE = `
import fcntl, os, random, socket, struct, sys, threading
loss = float(sys.argv[2])
random.seed(42)
tap = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH", b"eth0", 0x1002))
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(1)
os.write(1, b"ready")
connection, _ = listener.accept()
def outwards():
    while True:
        frame = os.read(tap, 70000)
        if random.random() >= loss: connection.sendall(struct.pack(">I", len(frame)) + frame)
threading.Thread(target=outwards, daemon=True).start()
stream = connection.makefile("rb", 1 << 20)
while True:
    head = stream.read(4)
    if len(head) < 4: break
    frame = stream.read(struct.unpack(">I", head)[0])
    if random.random() >= loss: os.write(tap, frame)
os._exit(0)
`;

/** @returns why these tests cannot run here; undefined where they can */
export async function whyNoNamespaces(): Promise<string | undefined> {
  if (Deno.uid() !== 0) return "network namespaces and taps need root";
  for (const program of ["ip", "python3"]) {
    if (!(await realHost().processes.which(program))) return `${program} is not installed`;
  }
  return undefined;
}

export interface TapGuest extends AsyncDisposable {
  readonly network: UserNetwork;
  /** Runs in the guest. @returns its output */
  run(...command: string[]): Promise<{ code: number; stdout: string; stderr: string }>;
  spawn(...command: string[]): Deno.ChildProcess;
}

/** @param loss the share of frames that get lost, both ways */
export async function tapGuest(rules: readonly string[] = ["*"], loss = 0): Promise<TapGuest> {
  const name = `banger-test-${Deno.pid}-${Math.floor(Math.random() * 1e6)}`;
  const directory = await Deno.makeTempDir({ prefix: "banger-tap-" });
  await using stack = new AsyncDisposableStack();
  stack.defer(() => Deno.remove(directory, { recursive: true }));
  await ip("netns", "add", name);
  stack.defer(() => ip("netns", "del", name));
  const path = `${directory}/net.sock`;
  const inside = ["netns", "exec", name];
  const bridge = new Deno.Command("ip", {
    args: [...inside, "python3", "-c", BRIDGE, path, String(loss)],
    stdout: "piped",
  }).spawn();
  const lines = bridge.stdout.getReader();
  assert.match(new TextDecoder().decode((await lines.read()).value), /ready/);
  lines.releaseLock();
  for (
    const args of [
      ["link", "set", "lo", "up"],
      ["link", "set", "eth0", "address", MAC, "mtu", "65520", "up"],
      ["addr", "add", "10.0.2.15/24", "dev", "eth0"],
      ["route", "add", "default", "via", "10.0.2.2", "dev", "eth0", "onlink"],
    ]
  ) await ip("-n", name, ...args);
  const host = realHost();
  const network = new UserNetwork(host, MAC, rules.map(parseNetRule));
  const stop = new AbortController();
  const running = network.run(await host.sockets.connectUnix(path), stop.signal);
  const rest = stack.move();
  return {
    network,
    run: (...command) => output("ip", ...inside, ...command),
    spawn: (...command) =>
      new Deno.Command("ip", { args: [...inside, ...command], stdin: "null", stdout: "null", stderr: "null" })
        .spawn(),
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
      await bridge.stdout.cancel();
      await bridge.status;
      await rest.disposeAsync();
    },
  };
}

async function ip(...args: string[]): Promise<void> {
  const { code, stderr } = await output("ip", ...args);
  assert.equal(code, 0, `ip ${args.join(" ")}: ${stderr}`);
}

async function output(program: string, ...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command(program, { args }).output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}
