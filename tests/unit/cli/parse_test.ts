import assert from "node:assert/strict";
import { COMMANDS } from "../../../lib/cli/commands/all.ts";
import { parseCommandLine } from "../../../lib/cli/parse.ts";

function run(line: string) {
  const parsed = parseCommandLine(line.split(" ").filter(Boolean));
  assert.equal(parsed.kind, "run", JSON.stringify(parsed));
  if (parsed.kind !== "run") throw new Error("unreachable");
  return parsed;
}

Deno.test("what stands behind -- is the guest's, flags and all", () => {
  const { command, input } = run("vm run --rm -c 4 -- make --rm -- x");
  assert.deepEqual(command.path, ["vm", "run"]);
  assert.deepEqual(input.trailing, ["make", "--rm", "--", "x"]);
  assert.equal(input.options.rm, true);
  assert.equal(input.options.cpus, "4");
});

Deno.test("short cuts mean the long commands", () => {
  for (
    const [short, long] of [["ps", "vm list"], ["run", "vm run"], ["exec", "vm exec"], [
      "ssh",
      "vm ssh",
    ]] as const
  ) {
    assert.deepEqual(
      run(`${short}${short === "ps" || short === "run" ? "" : " web"}`).command.path,
      long.split(" "),
    );
  }
});

Deno.test("arguments come in order, repeated options as a list", () => {
  const { input } = run("vm exec web -e A=1 -e B=2 --workdir /tmp -- env");
  assert.deepEqual(input.arguments, ["web"]);
  assert.deepEqual(input.options.env, ["A=1", "B=2"]);
  assert.equal(input.options.workdir, "/tmp");
});

Deno.test("several names can be removed at once", () => {
  assert.deepEqual(run("vm rm a b c --force").input.arguments, ["a", "b", "c"]);
});

for (
  const [line, pattern] of [
    ["vm creat", /unknown command 'creat'[\s\S]*Did you mean create/],
    ["vm create --cpu 3", /unknown option '--cpu'[\s\S]*Did you mean --cpus/],
    ["vm exec", /missing required argument 'vm'/],
    ["vm create --name", /argument missing/],
    ["vm list extra", /too many arguments/],
    ["image list -- x", /takes no command/],
    ["frobnicate", /unknown command/],
  ] as const
) {
  Deno.test(`banger ${line} is refused with exit code 2`, () => {
    const parsed = parseCommandLine(line.split(" "));
    assert.equal(parsed.kind, "text");
    if (parsed.kind !== "text") return;
    assert.equal(parsed.exitCode, 2);
    assert.match(parsed.text, pattern);
  });
}

for (const line of ["--help", "help", "vm --help", "vm run --help", "help vm"]) {
  Deno.test(`banger ${line} shows help on stdout`, () => {
    const parsed = parseCommandLine(line.split(" "));
    assert.ok(
      parsed.kind === "text" && parsed.exitCode === 0 && /Usage: banger/.test(parsed.text),
      JSON.stringify(parsed),
    );
  });
}

Deno.test("banger alone shows the help and fails", () => {
  const parsed = parseCommandLine([]);
  assert.ok(parsed.kind === "text" && parsed.exitCode === 2 && /Commands:/.test(parsed.text));
});

for (const command of COMMANDS) {
  Deno.test(`banger ${command.path.join(" ")} --help tells what it does`, () => {
    const parsed = parseCommandLine([...command.path, "--help"]);
    assert.ok(parsed.kind === "text" && parsed.exitCode === 0);
    if (parsed.kind !== "text") return;
    for (const { flags } of command.options ?? []) assert.ok(parsed.text.includes(flags), flags);
    assert.equal(parsed.text.includes("[-- "), command.trailing !== undefined);
  });
}
