import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { BangerError } from "../../../lib/base/errors.ts";
import type { VmName } from "../../../lib/base/names.ts";
import { openStore } from "../../../lib/store/open_store.ts";
import { MIGRATIONS } from "../../../lib/store/schema.ts";
import { Store } from "../../../lib/store/store.ts";
import { realHost } from "../../../lib/sys/host.ts";

/** As banger 0.1.0 wrote it, schema version 1: one image, a stopped VM and one that was being made. */
const VERSION_1 = new URL("../../data/state-v1.db", import.meta.url).pathname;
const host = realHost();
// The C library is loaded at the first call: not within a test, which would have to unload it.
await host.processes.signal({ pid: 2 ** 22 + 1, startTimeTicks: 0, bootId: "", executable: "/" }, "SIGTERM");

async function withCopy(test: (path: string, names: () => string[]) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "banger-store-" });
  try {
    const path = `${directory}/state.db`;
    await Deno.copyFile(VERSION_1, path);
    await test(path, () => [...Deno.readDirSync(directory)].map(({ name }) => name).sort());
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

function versionOf(path: string): unknown {
  const database = new DatabaseSync(path, { readOnly: true });
  try {
    return database.prepare("PRAGMA user_version").get()?.user_version;
  } finally {
    database.close();
  }
}

Deno.test("a database of version 1 is brought up to date, and a copy of it is kept", () =>
  withCopy(async (path, names) => {
    const before = await Deno.readFile(path);
    {
      const opened = await openStore(host, path);
      using store = opened.store;
      const vm = store.vms.get("web");
      assert.deepEqual([vm.id, vm.number, vm.state, vm.imageId], [
        "0123456789ab",
        1,
        "stopped",
        "aabbccddeeff",
      ]);
      assert.deepEqual([vm.spec.memoryMib, vm.spec.environment, vm.rootDisk, vm.lastExit], [
        2048,
        { EDITOR: "vi" },
        "qcow2",
        "shut down",
      ]);
      assert.equal(store.vms.get("half-made").state, "creating");
      assert.deepEqual(store.images.users(vm.imageId), ["half-made", "web"]);
      assert.ok(store.vms.isTaken("web" as VmName));
    }
    assert.equal(versionOf(path), MIGRATIONS.length);
    const [backup] = names().filter((name) => name.startsWith("state.db.backup-v1-"));
    assert.ok(backup, names().join());
    assert.deepEqual(await Deno.readFile(`${path.slice(0, -"state.db".length)}${backup}`), before);
  }));

Deno.test("a migration that fails changes nothing", () =>
  withCopy((path) => {
    const database = new DatabaseSync(path);
    // The name that the next version wants.
    database.exec("CREATE TABLE vms_without_reference (x)");
    database.close();
    assert.throws(() => Store.open(path), (thrown) =>
      thrown instanceof BangerError && thrown.code === "state_broken");
    assert.equal(versionOf(path), 1);
    const after = new DatabaseSync(path, { readOnly: true });
    assert.equal(after.prepare("SELECT count(*) AS count FROM vms").get()?.count, 2);
    after.close();
    return Promise.resolve();
  }));

const DAMAGES: Readonly<Record<string, (path: string) => Promise<void>>> = {
  "a file that is no database": (path) => Deno.writeTextFile(path, "no database ".repeat(1000)),
  "a database whose pages are damaged": async (path) => {
    const bytes = await Deno.readFile(path);
    bytes.fill(0xa5, 4096 + 8, 3 * 4096);
    await Deno.writeFile(path, bytes);
  },
  "a database without its tables": (path) => {
    const database = new DatabaseSync(path);
    database.exec(`DROP TABLE vms; DROP TABLE images; PRAGMA user_version = ${MIGRATIONS.length}`);
    database.close();
    return Promise.resolve();
  },
};

for (const [what, damage] of Object.entries(DAMAGES)) {
  Deno.test(`${what} is put aside, whole, for an empty one`, () =>
    withCopy(async (path) => {
      await damage(path);
      const before = await Deno.readFile(path);
      const { store, damagedPath } = await openStore(host, path);
      using empty = store;
      assert.deepEqual(empty.vms.list(), []);
      assert.ok(damagedPath?.startsWith(`${path}.damaged-`));
      assert.deepEqual(await Deno.readFile(damagedPath!), before);
    }));
}

Deno.test("a database that is newer, or that cannot be opened just now, is not taken for damaged", () =>
  withCopy(async (path, names) => {
    const newer = new DatabaseSync(path);
    newer.exec("PRAGMA user_version = 999");
    newer.close();
    await assert.rejects(
      openStore(host, path),
      (thrown) => thrown instanceof BangerError && thrown.code === "state_too_new",
    );
    assert.deepEqual(names(), ["state.db"]);
    await Deno.remove(path);
    await Deno.mkdir(path);
    await assert.rejects(
      openStore(host, path),
      (thrown) => thrown instanceof BangerError && thrown.code === "state_broken",
    );
    assert.deepEqual(names(), ["state.db"]);
  }));
