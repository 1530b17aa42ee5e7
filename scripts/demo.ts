/** From nothing to the output of a command that ran inside a VM, saying how long each stage took. */
import { BIN_DIRECTORY, build } from "./build.ts";

const COMMAND = ["sh", "-c", "uname -a; cat /etc/os-release"];

async function stage<T>(name: string, act: () => Promise<T>): Promise<T> {
  const startedAtMs = performance.now();
  const result = await act();
  console.error(`demo: ${name}: ${((performance.now() - startedAtMs) / 1000).toFixed(1)} s`);
  return result;
}

await stage("build the executables", () => build());
console.error(`demo: banger vm run --rm -- ${COMMAND.slice(0, 2).join(" ")} '${COMMAND[2]}'`);
const { code } = await stage("make a VM, run the command in it, remove the VM", async () => {
  const child = new Deno.Command(`${BIN_DIRECTORY}/banger`, {
    args: ["vm", "run", "--rm", "--", ...COMMAND],
    stdin: "null",
    stdout: "inherit",
    stderr: "inherit",
  }).spawn();
  return await child.status;
});
Deno.exit(code);
