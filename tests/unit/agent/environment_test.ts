import { deepEqual, equal } from "node:assert/strict";
import { commandEnvironment, parseEnvironmentLines, rootAccountOf } from "../../../agent/environment.ts";

Deno.test("rootAccountOf() finds uid 0, and has defaults where there is none", () => {
  const passwd = "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nroot:x:0:0:root:/home/root:/bin/zsh\n";
  deepEqual(rootAccountOf(passwd), { home: "/home/root", shell: "/bin/zsh" });
  const defaults = { home: "/root", shell: "/bin/sh" };
  for (const text of ["", "garbage", "root:x:0:0:root::\n", "x:x:1:1:::\n", "root:x:0:0"]) {
    deepEqual(rootAccountOf(text), defaults);
  }
});

Deno.test("parseEnvironmentLines() keeps values as they are", () => {
  const text = "A=1\nB=two words = here\n# no=comment\nC=\n=no name\nno value\nPATH=/x\n";
  deepEqual(parseEnvironmentLines(text), { A: "1", B: "two words = here", C: "", PATH: "/x" });
});

Deno.test("commandEnvironment(): the request wins over the machine, the machine over the defaults", () => {
  const account = { home: "/root", shell: "/bin/bash" };
  const env = commandEnvironment({ env: { A: "request", LANG: "C" } }, account, {
    A: "machine",
    B: "machine",
  });
  equal(env.A, "request");
  equal(env.B, "machine");
  equal(env.LANG, "C");
  equal(env.HOME, "/root");
  equal(env.SHELL, "/bin/bash");
  equal(env.TERM, undefined);
  const terminal = { rows: 24, columns: 80, term: "xterm" };
  equal(commandEnvironment({ terminal }, account, {}).TERM, "xterm");
});
