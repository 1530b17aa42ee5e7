import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { resolvePaths, vmPaths } from "../../../lib/store/paths.ts";

function resolve(variables: Record<string, string>) {
  return resolvePaths((name) => variables[name], 1000);
}

Deno.test("the XDG variables decide, HOME stands in for them", () => {
  const paths = resolve({ HOME: "/home/u", XDG_STATE_HOME: "/s", XDG_RUNTIME_DIR: "/run/user/1000" });
  assert.equal(paths.database, "/s/banger/state.db");
  assert.equal(paths.cacheDirectory, "/home/u/.cache/banger");
  assert.equal(paths.daemonSocket, "/run/user/1000/banger/daemon.sock");
});

Deno.test("without HOME and the XDG variables there is an error with a remedy", () => {
  assert.throws(
    () => resolve({}),
    (thrown) => thrown instanceof BangerError && /Set HOME/.test(thrown.hint ?? ""),
  );
  assert.throws(() => resolve({ HOME: "relative" }), BangerError);
});

Deno.test("two homes never share a runtime directory, and one always has the same", () => {
  const [a, again, b] = ["/home/a", "/home/a", "/home/b"].map((HOME) => resolve({ HOME }).runtimeDirectory);
  assert.equal(a, again);
  assert.notEqual(a, b);
});

Deno.test("sockets stay under 108 bytes, however long the runtime directory's path is", () => {
  for (const XDG_RUNTIME_DIR of ["/run/user/1000", `/${"long/".repeat(30)}`, `/${"ü".repeat(40)}`]) {
    const paths = resolve({ HOME: `/home/${"u".repeat(200)}`, XDG_RUNTIME_DIR });
    const socket = `${vmPaths(paths, "0123456789ab").runtime}/console.sock`;
    assert.ok(new TextEncoder().encode(socket).length < 108, socket);
  }
});
