/**
 * Stands in for QEMU in fault rounds that are about the host's state: takes the arguments that banger gives to QEMU,
 * listens for QMP, writes the console's first line, opens its disks, and answers as the agent would. A machine of it
 * takes 0.1 s and no processor time.
 *
 * As `… agent RUNTIME/ CONSOLE_LOG PID` it is only the agent, beside a real QEMU of that pid.
 */
import { writeFully } from "../../lib/base/bytes.ts";
import type { Connection } from "../../lib/base/host.ts";
import { runtimeSockets } from "../../lib/vmm/driver.ts";
import { host, type Malice, serveAgent } from "./stand_in_agent.ts";

const encoder = new TextEncoder();

function optionsOf(args: readonly string[], name: string): string[] {
  return args.flatMap((arg, index) => args[index - 1] === name ? [arg] : []);
}

function socketPath(args: readonly string[], id: string): string | undefined {
  return optionsOf(args, "-chardev").map((text) =>
    new RegExp(`^socket,id=${id},path=([^,]+)`).exec(text)?.[1]
  )
    .find((path) => path !== undefined);
}

async function openDisks(args: readonly string[]): Promise<void> {
  for (const text of optionsOf(args, "-blockdev")) {
    const { driver, file, "read-only": readOnly } = JSON.parse(text) as {
      driver: string;
      file: { filename: string };
      "read-only": boolean;
    };
    // It stays open, as long as this runs.
    const disk = await host.files.open(file.filename, { read: true, write: !readOnly });
    if (driver !== "qcow2") continue;
    const magic = new Uint8Array(4);
    await disk.readAt(magic, 0);
    if (new TextDecoder().decode(magic.subarray(0, 3)) !== "QFI") {
      throw new Error(`${file.filename} is no qcow2`);
    }
  }
}

async function printConsole(path: string, malice: Malice | undefined): Promise<void> {
  for (;;) {
    const console = await host.sockets.connectUnix(path).catch(() => undefined);
    if (console) {
      const print = (text: string) => writeFully((bytes) => console.write(bytes), encoder.encode(text));
      await print("banger-init: start\n");
      while (malice === "floods its console") await print("\x1b[2J\x1b]0;owned\x07".repeat(3000));
      // Until the relay goes.
      while (await console.read(new Uint8Array(64)).catch(() => null) !== null);
      console.close();
    }
    await host.clock.sleep(200);
  }
}

async function serveQmp(path: string): Promise<void> {
  for await (const client of await host.sockets.listenUnix(path)) {
    void answerQmp(client).catch(() => client.close());
  }
}

async function answerQmp(client: Connection): Promise<void> {
  const send = (value: unknown) =>
    writeFully((bytes) => client.write(bytes), encoder.encode(`${JSON.stringify(value)}\r\n`));
  await send({ QMP: { version: {}, capabilities: [] } });
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(4096);
  let pending = "";
  for (let count; (count = await client.read(buffer)) !== null;) {
    const lines = (pending + decoder.decode(buffer.subarray(0, count), { stream: true })).split("\n");
    pending = lines.pop()!;
    for (const line of lines) {
      const { execute, id } = JSON.parse(line) as { execute: string; id: number };
      await send({ return: execute === "query-status" ? { status: "running", running: true } : {}, id });
      if (execute === "quit") end(0);
    }
  }
  client.close();
}

let ownSocket: string | undefined;

/** QEMU removes its QMP socket when it ends by itself. */
function end(code: number): never {
  if (ownSocket) Deno.removeSync(ownSocket);
  Deno.exit(code);
}

async function machine(args: readonly string[]): Promise<void> {
  const qmp = socketPath(args, "qmp");
  const console = socketPath(args, "console");
  const serial = socketPath(args, "agent");
  if (!qmp || !console || !serial) throw new Error("it lacks a socket");
  await openDisks(args);
  const malice = await Deno.readTextFile(`${Deno.env.get("HOME")}/malice`).catch(() => undefined) as
    | Malice
    | undefined;
  void printConsole(console, malice);
  void serveAgent(serial, { malice, isUp: () => Promise.resolve(true), powerOff: () => end(0) });
  Deno.addSignalListener("SIGTERM", () => end(0));
  ownSocket = qmp;
  await serveQmp(qmp);
}

/** @param pid of the QEMU that this belongs to, and ends with */
async function agentOnly(runtime: string, consoleLog: string, pid: number): Promise<void> {
  const qemu = await host.processes.identify(pid);
  if (!qemu) return;
  void serveAgent(runtimeSockets(runtime.replace(/\/$/, "")).serial, {
    isUp: async () => (await Deno.readTextFile(consoleLog).catch(() => "")).includes("banger-init: idle"),
    // Ends in order, as a guest that powers off: QEMU writes what it holds.
    powerOff: () => void host.processes.signal(qemu, "SIGTERM"),
  });
  while (await host.processes.isAlive(qemu)) await host.clock.sleep(50);
}

try {
  const [role, runtime, consoleLog, pid] = Deno.args;
  if (role === "agent") await agentOnly(runtime!, consoleLog!, Number(pid));
  else await machine(Deno.args);
  Deno.exit(0);
} catch (thrown) {
  Deno.stderr.writeSync(encoder.encode(`${thrown instanceof Error ? thrown.stack : thrown}\n`));
  Deno.exit(1);
}
