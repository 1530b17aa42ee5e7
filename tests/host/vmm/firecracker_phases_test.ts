/** Every request that banger can make of Firecracker, before the start and after it. */
import assert from "node:assert/strict";
import { FirecrackerClient } from "../../../lib/vmm/firecracker/client.ts";
import { withFakeFirecracker } from "./fake_host.ts";
import { Bench, host as realOne, reaped } from "./tiny_guest.ts";

const host = withFakeFirecracker(realOne);
const BEFORE = /not supported before starting/;
const AFTER = /not supported after starting/;

type Phase = "before" | "after" | "any";
type Request = readonly [string, Phase, (client: FirecrackerClient, file: string) => Promise<unknown>];

const REQUESTS: readonly Request[] = [
  ["GET /version", "any", (client) => client.version()],
  ["GET /", "any", (client) => client.instance()],
  ["PUT /logger", "before", (client, path) => client.putLogger({ log_path: path, level: "Warning" })],
  ["PUT /metrics", "before", (client, path) => client.putMetrics(path)],
  ["PUT /serial", "before", (client, path) => client.putSerial({ serial_out_path: path })],
  [
    "PUT /machine-config",
    "before",
    (client) => client.putMachineConfiguration({ vcpu_count: 1, mem_size_mib: 128 }),
  ],
  ["PUT /boot-source", "before", (client, path) => client.putBootSource({ kernel_image_path: path })],
  [
    "PUT /drives/root",
    "before",
    (client, path) =>
      client.putDrive({
        drive_id: "root",
        path_on_host: path,
        is_root_device: false,
        is_read_only: false,
        cache_type: "Writeback",
      }),
  ],
  [
    "PUT /network-interfaces/eth0",
    "before",
    (client) => client.putNetworkInterface({ iface_id: "eth0", host_dev_name: "tap0" }),
  ],
  ["PUT /vsock", "before", (client) => client.putVsock({ guest_cid: 3, uds_path: "/x" })],
  ["PUT /entropy", "before", (client) => client.putEntropy()],
  ["PUT /balloon", "before", (client) => client.putBalloon({ amount_mib: 0, deflate_on_oom: true })],
  ["PATCH /balloon", "after", (client) => client.resizeBalloon(16)],
  ["GET /balloon/statistics", "after", (client) => client.balloonStatistics()],
  ["PATCH /drives/root", "after", (client, path) => client.refreshDrive("root", path)],
  ["PATCH /vm (pause)", "after", (client) => client.pause()],
  ["PATCH /vm (resume)", "after", (client) => client.resume()],
  ["PUT /actions (SendCtrlAltDel)", "after", (client) => client.act("SendCtrlAltDel")],
  ["PUT /actions (FlushMetrics)", "after", (client) => client.act("FlushMetrics")],
];

interface Started extends AsyncDisposable {
  readonly client: FirecrackerClient;
  problems(): Promise<string[]>;
}

async function startFake(bench: Bench): Promise<Started> {
  const socket = `${bench.directory}/api.sock`;
  const args = ["--api-sock", socket, "--id", "phases"];
  const process = await host.processes.startDetached(
    { program: "/opt/firecracker", args },
    `${bench.directory}/log`,
  );
  while (!(await host.files.stat(socket))) await host.clock.sleep(10);
  return {
    client: new FirecrackerClient(host, socket),
    async problems() {
      const asked = (await Deno.readTextFile(`${socket}.requests`)).trim().split("\n");
      return asked.flatMap((line) => (JSON.parse(line) as { problems: string[] }).problems);
    },
    async [Symbol.asyncDispose]() {
      await host.processes.signal(process, "SIGKILL");
      await reaped(process);
    },
  };
}

Deno.test("every request of the client is one of the API, and is refused in the wrong phase in the API's words", async () => {
  await using bench = await Bench.open();
  await using fake = await startFake(bench);
  const { client } = fake;
  const file = await bench.disk("file", 512);
  await assert.rejects(client.act("InstanceStart"), /without kernel configuration/);
  for (const [name, phase, request] of REQUESTS) {
    if (phase === "after") await assert.rejects(request(client, file), BEFORE, `${name}, before the start`);
    else await request(client, file);
  }
  await assert.rejects(client.putMetrics(file), /already initialized/);
  await client.act("InstanceStart");
  await assert.rejects(client.act("InstanceStart"), AFTER);
  for (const [name, phase, request] of REQUESTS) {
    if (phase === "before") await assert.rejects(request(client, file), AFTER, `${name}, after the start`);
    else await request(client, file);
  }
  await assert.rejects(client.refreshDrive("work", file), /Invalid block device ID/);
  assert.deepEqual(await fake.problems(), []);
});

Deno.test("what was not put before the start is not there after it", async () => {
  await using bench = await Bench.open();
  await using fake = await startFake(bench);
  const { client } = fake;
  await client.putBootSource({ kernel_image_path: await bench.disk("vmlinux", 1) });
  await client.act("InstanceStart");
  await assert.rejects(client.resizeBalloon(1), /Unable to find the balloon device/);
  await assert.rejects(client.balloonStatistics(), /Unable to find the balloon device/);
  assert.equal((await client.instance()).state, "Running");
  await client.pause();
  assert.equal((await client.instance()).state, "Paused");
});
