import assert from "node:assert/strict";
import { createVmSchema } from "../../../lib/api/contract.ts";
import { BangerError } from "../../../lib/base/errors.ts";
import { VM_CHOICES, VM_LIMITS } from "../../../lib/base/vm_limits.ts";
import type { Context } from "../../../lib/cli/command.ts";
import { createRequest } from "../../../lib/cli/create_flags.ts";
import { parseCommandLine } from "../../../lib/cli/parse.ts";

function refuses(why: RegExp) {
  return (thrown: unknown) =>
    thrown instanceof BangerError && thrown.code === "invalid_argument" && why.test(thrown.message);
}

/** @param words of `vm create`, each as it is */
function request(words: readonly string[], transport?: string) {
  const parsed = parseCommandLine(["vm", "create", ...words]);
  if (parsed.kind !== "run") throw new Error(parsed.text);
  const context = {
    absolutePath: (path: string) => `/here/${path}`,
    environment: (name: string) => name === "BANGER_TRANSPORT" ? transport : undefined,
  } as unknown as Context;
  return createRequest(context, parsed.input);
}

Deno.test("createRequest() has nothing that was not said", () => {
  assert.deepEqual(request([]), {});
});

Deno.test("createRequest() makes of all flags a request that the daemon takes", () => {
  const words = "-n web -i tar:x.tar --kernel debian -c 3 -m 1.5G --disk 20G --network user --vmm qemu " +
    "--root-disk copy -p 8080:80 --no-forward --allow-net *.debian.org:443 -e A=x=y -e B=";
  const made = request(words.split(" "), "vhost-vsock");
  assert.deepEqual(made, {
    name: "web",
    image: "tar:/here/x.tar",
    kernel: "debian",
    cpus: 3,
    memoryMib: 1536,
    workDiskBytes: 20 * 1024 ** 3,
    network: "user",
    vmm: "qemu",
    rootDisk: "copy",
    publish: ["8080:80"],
    forward: false,
    allowNet: ["*.debian.org:443"],
    transport: "vhost-vsock",
    environment: { A: "x=y", B: "" },
  });
  assert.deepEqual(createVmSchema.parse(made), made);
});

const REFUSED: readonly [flags: readonly string[], why: RegExp][] = [
  [["--name", "Web_1"], /Web_1/],
  [["--image", ""], /it is empty/],
  [["--kernel", "../x"], /\.\.\/x/],
  [["--cpus", "two"], /"two" for --cpus: it is no whole number/],
  [["--cpus", "0"], /"0" for --cpus: 1 is the least/],
  [["--cpus", "65"], /"65" for --cpus: 64 is the most/],
  [["--memory", "lots"], /as a size for --memory/],
  [["--memory", "127M"], /"127M" for --memory: 128 MiB is the least/],
  [["--memory", "2T"], /"2T" for --memory: 1 TiB is the most/],
  [["--disk", "1M"], /"1M" for --disk: 64 MiB is the least/],
  [["--disk", "17T"], /"17T" for --disk: 16 TiB is the most/],
  [["--network", "host"], /"host" for --network: it is none of user, bridge, none/],
  [["--vmm", "xen"], /"xen" for --vmm: it is none of qemu, firecracker/],
  [["--root-disk", "raw"], /"raw" for --root-disk: it is none of reflink, /],
  [["--publish", "http"], /Cannot publish "http"/],
  [["--allow-net", "a b"], /Cannot allow "a b"/],
  [["--env", "A"], /"A" for --env: it is not NAME=VALUE/],
  [["--env", "=x"], /"=x" for --env: it is not NAME=VALUE/],
  [["--env", "1A=x"], /"1A" for --env: a name is letters, digits and _/],
];

for (const [flags, why] of REFUSED) {
  Deno.test(`createRequest() refuses ${flags.join(" ")}`, () => {
    assert.throws(() => request(flags), refuses(why));
  });
}

Deno.test("createRequest() refuses a transport that there is not", () => {
  assert.throws(() => request([], "pigeon"), refuses(/"pigeon" for BANGER_TRANSPORT/));
});

for (const [field, { min, max, tooSmall, tooLarge }] of Object.entries(VM_LIMITS)) {
  Deno.test(`the daemon's bounds of ${field} are those of the flags`, () => {
    const says = (value: number) => createVmSchema.safeParse({ [field]: value }).error?.issues[0]?.message;
    assert.deepEqual([min - 1, min, max, max + 1].map(says), [tooSmall, undefined, undefined, tooLarge]);
  });
}

for (const [field, choices] of Object.entries(VM_CHOICES)) {
  Deno.test(`the daemon takes each ${field} that a flag takes`, () => {
    for (const choice of choices) assert.ok(createVmSchema.safeParse({ [field]: choice }).success, choice);
  });
}
