import assert from "node:assert/strict";
import { temporaryDirectory } from "./tools.ts";

const UNIT_TESTS = new URL("../../unit/oci", import.meta.url).pathname;

Deno.test("hostile archives and registries write nothing outside the store, open no socket, start no process", async () => {
  await using directory = await temporaryDirectory();
  // Every row again, by a process that Deno lets write below one directory only.
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "test",
      "--no-check",
      "--no-prompt",
      "--allow-read",
      `--allow-write=${directory.path}`,
      "--allow-env",
      "--allow-ffi",
      "--allow-sys=statfs",
      UNIT_TESTS,
    ],
    env: { TMPDIR: directory.path, NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  }).output();
  const output = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  assert(success, output.slice(-4000));
  assert.match(output, /ok \| \d{3} passed \| 0 failed/);
  const left = [...Deno.readDirSync(directory.path)].map(({ name }) => name);
  assert.deepEqual(left, [], "something was left behind");
});
