import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { BangerError } from "../../../lib/base/errors.ts";
import type { ImageId, ImageName, KernelName, VmId, VmName } from "../../../lib/base/names.ts";
import { loopbackAddress } from "../../../lib/base/addresses.ts";
import { type ImageRecord, type VmRecord, vsockCid } from "../../../lib/store/records.ts";
import { Store } from "../../../lib/store/store.ts";

async function withDirectory(test: (directory: string) => void | Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "banger-store-" });
  try {
    await test(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

function image(name: string, id: string): ImageRecord {
  return {
    id: id as ImageId,
    name: name as ImageName,
    source: "recipe:test",
    digest: "sha256:00",
    createdAtMs: 1,
    sizeBytes: 1,
    contentBytes: 1,
    init: "none",
    libc: "none",
    hasSshServer: false,
    agentBuild: "x",
    config: { user: "", environment: {}, workingDirectory: "", entrypoint: [], command: [] },
  };
}

const RECORD: VmRecord = {
  createdAtMs: 1,
  spec: {
    imageName: "debian",
    kernelName: "debian" as KernelName,
    cpus: 1,
    memoryMib: 512,
    workDiskBytes: 1,
    network: "user",
    transport: "virtio-serial",
    environment: {},
  },
};

const code = (wanted: string) => (thrown: unknown) => thrown instanceof BangerError && thrown.code === wanted;

Deno.test("a name and a number are reserved once, and a freed number is used again", () =>
  withDirectory((directory) => {
    using store = Store.open(`${directory}/state.db`);
    store.images.insert(image("debian", "aabbccddeeff"));
    const reserve = (id: string, name: string) =>
      store.vms.reserve(id as VmId, name as VmName, "aabbccddeeff" as ImageId, RECORD);
    assert.deepEqual(["a", "b", "c"].map((name) => reserve(name, name).number), [1, 2, 3]);
    assert.throws(() => reserve("d", "a"), code("already_exists"));
    store.vms.remove("b" as VmId);
    assert.equal(reserve("d", "d").number, 2);
    assert.equal(reserve("e", "e").number, 4);
  }));

Deno.test("65,000 VMs have all the addresses: one more is refused, until one goes", () =>
  withDirectory((directory) => {
    const path = `${directory}/state.db`;
    {
      using store = Store.open(path);
      store.images.insert(image("debian", "aabbccddeeff"));
      store.vms.reserve("first" as VmId, "first" as VmName, "aabbccddeeff" as ImageId, RECORD);
    }
    const database = new DatabaseSync(path);
    database.exec(
      `WITH RECURSIVE numbers(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM numbers WHERE n < 65000)
       INSERT INTO vms (id, name, number, image_id, state, record)
       SELECT 'id' || n, 'vm' || n, n, 'aabbccddeeff', 'stopped', '{}' FROM numbers`,
    );
    database.close();
    using store = Store.open(path);
    const reserve = () =>
      store.vms.reserve("more" as VmId, "more" as VmName, "aabbccddeeff" as ImageId, RECORD);
    assert.throws(reserve, code("no_space"));
    store.vms.remove("id4321" as VmId);
    assert.equal(reserve().number, 4321);
  }));

Deno.test("states change only as the table allows, with what else changes", () =>
  withDirectory((directory) => {
    using store = Store.open(`${directory}/state.db`);
    store.images.insert(image("debian", "aabbccddeeff"));
    const { id } = store.vms.reserve("x" as VmId, "x" as VmName, "aabbccddeeff" as ImageId, RECORD);
    assert.throws(() => store.vms.transition("start", id, "running"), code("wrong_state"));
    store.vms.transition("create", id, "stopped", { record: { rootDisk: "qcow2" } });
    store.vms.transition("start", id, "starting");
    const running = store.vms.transition("start", id, "running", { machine: { pid: 1 } });
    assert.deepEqual([running.state, running.rootDisk, running.machine], ["running", "qcow2", { pid: 1 }]);
    const stopped = store.vms.transition("stop", id, "stopped", {
      machine: undefined,
      record: { lastExit: "x" },
    });
    assert.deepEqual([stopped.machine, stopped.lastExit], [undefined, "x"]);
  }));

Deno.test("everything is there after the database was opened again", () =>
  withDirectory((directory) => {
    {
      using store = Store.open(`${directory}/state.db`);
      store.images.insert(image("debian", "aabbccddeeff"));
      store.vms.reserve("x" as VmId, "x" as VmName, "aabbccddeeff" as ImageId, RECORD);
    }
    using store = Store.open(`${directory}/state.db`);
    assert.equal(store.vms.get("x").state, "creating");
    assert.deepEqual(store.images.users("aabbccddeeff" as ImageId), ["x"]);
    const reserve = () => store.vms.reserve("y" as VmId, "y" as VmName, "000000000000" as ImageId, RECORD);
    assert.throws(reserve, code("not_found"), "no VM without its image");
  }));

Deno.test("images are found by name, id and the beginning of an id", () =>
  withDirectory((directory) => {
    using store = Store.open(`${directory}/state.db`);
    store.images.insert(image("one", "aabbccddeeff"));
    store.images.insert(image("two", "aabb00000000"));
    assert.equal(store.images.find("one")?.id, "aabbccddeeff");
    assert.equal(store.images.find("aabbc")?.name, "one");
    assert.equal(store.images.find("aabb"), undefined, "ambiguous");
    assert.equal(store.images.find("%"), undefined);
    assert.throws(() => store.images.insert(image("one", "ffffffffffff")), code("already_exists"));
  }));

Deno.test("a database of a newer version is refused and left as it was", () =>
  withDirectory(async (directory) => {
    const path = `${directory}/state.db`;
    const newer = new DatabaseSync(path);
    newer.exec("CREATE TABLE future (x); PRAGMA user_version = 999");
    newer.close();
    const before = await Deno.readFile(path);
    assert.throws(() => Store.open(path), code("state_too_new"));
    assert.deepEqual(await Deno.readFile(path), before);
    assert.deepEqual((await Array.fromAsync(Deno.readDir(directory))).map(({ name }) => name), ["state.db"]);
  }));

Deno.test("a file that is no database is refused and left as it was", () =>
  withDirectory(async (directory) => {
    const path = `${directory}/state.db`;
    await Deno.writeTextFile(
      path,
      "not a database, and long enough to be read as a header of one".repeat(20),
    );
    const before = await Deno.readFile(path);
    assert.throws(() => Store.open(path), code("state_broken"));
    assert.deepEqual(await Deno.readFile(path), before);
  }));

Deno.test("numbers become loopback addresses and CIDs that nobody else uses", () => {
  assert.deepEqual([1, 255, 256, 65_000].map(loopbackAddress), [
    "127.42.0.1",
    "127.42.0.255",
    "127.42.1.0",
    "127.42.253.232",
  ]);
  assert.ok(vsockCid(1) > 3);
});
