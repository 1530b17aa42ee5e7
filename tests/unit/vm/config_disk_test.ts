import assert from "node:assert/strict";
import type { VmId, VmName } from "../../../lib/base/names.ts";
import { hostWindow } from "../../../lib/guest/client/host_window.ts";
import { parseTrailer, TRAILER_BYTES, WINDOW_BYTES } from "../../../lib/guest/wire/window.ts";
import { resolvePaths, sshPaths, vmPaths } from "../../../lib/store/paths.ts";
import type { Vm } from "../../../lib/store/records.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { libc } from "../../../lib/sys/libc.ts";
import { makeHostKey, writeConfigDisk } from "../../../lib/vm/config_disk.ts";
import { IMAGE, RECORD } from "./bench.ts";

// Opened once for all, so that no test is the one that leaves it open.
libc();

Deno.test("a config disk has its tar, a window that takes no room, and another name at each start", async () => {
  const home = await Deno.makeTempDir({ prefix: "banger-config-" });
  try {
    const { files } = realHost();
    const paths = resolvePaths((name) => name === "HOME" ? home : undefined, 0);
    const vm = {
      ...RECORD,
      id: "0123456789ab" as VmId,
      name: "web" as VmName,
    } as unknown as Vm;
    const { directory, configDisk } = vmPaths(paths, vm.id);
    await files.makeDirectory(directory, 0o700);
    await makeHostKey(files, paths, vm);
    // Before the first start, so that one that fails leaves nothing new.
    const alias = `${sshPaths(paths).knownHostsDirectory}/web.vm`;
    const known = Deno.readTextFileSync(alias);
    await Deno.writeTextFile(alias, known.replace("AAAA", "BBBB"));
    const names = new Set<string>();
    for (let start = 0; start < 2; start++) {
      await writeConfigDisk(files, paths, vm, IMAGE, []);
      const content = Deno.readFileSync(configDisk);
      const tarBytes = content.length - WINDOW_BYTES - TRAILER_BYTES;
      assert.equal(tarBytes % 4096, 0);
      assert.ok(content.subarray(tarBytes - 1024, -TRAILER_BYTES).every((byte) => byte === 0));
      names.add(parseTrailer(content.subarray(-TRAILER_BYTES)) ?? "none");
      const { allocatedBytes, mode } = (await files.stat(configDisk))!;
      assert.equal(mode, 0o600);
      assert.ok(allocatedBytes < WINDOW_BYTES, `${allocatedBytes}`);
    }
    assert.equal(names.size, 2);
    assert.equal(Deno.readTextFileSync(alias), known);
    assert.ok(!names.has("none"));
    const [before, now] = [...names];
    assert.equal(await hostWindow(files, configDisk).take(before!), undefined);
    await using slots = await hostWindow(files, configDisk).take(now!);
    assert.ok(slots);
    const { stdout } = await new Deno.Command("tar", { args: ["-tf", configDisk] }).output();
    assert.match(new TextDecoder().decode(stdout), /^config\.json$/m);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});
