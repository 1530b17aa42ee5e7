import { deepEqual, equal } from "node:assert/strict";
import { commandEnvironment, parseEnvironmentLines } from "../../../agent/environment.ts";

Deno.test("parseEnvironmentLines() keeps values as they are", () => {
  const text = "A=1\nB=two words = here\n# no=comment\nC=\n=no name\nno value\nPATH=/x\n";
  deepEqual(parseEnvironmentLines(text), { A: "1", B: "two words = here", C: "", PATH: "/x" });
});

Deno.test("commandEnvironment(): the request wins over the machine, the machine over the defaults", () => {
  const account = { name: "ann", home: "/root", shell: "/bin/bash" };
  const env = commandEnvironment({ env: { A: "request", LANG: "C" } }, account, {
    A: "machine",
    B: "machine",
  });
  equal(env.A, "request");
  equal(env.B, "machine");
  equal(env.LANG, "C");
  equal(env.HOME, "/root");
  equal(env.SHELL, "/bin/bash");
  deepEqual([env.USER, env.LOGNAME], ["ann", "ann"]);
  equal(env.TERM, undefined);
  const terminal = { rows: 24, columns: 80, term: "xterm" };
  equal(commandEnvironment({ terminal }, account, {}).TERM, "xterm");
});
