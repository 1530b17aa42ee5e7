import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import type { Files, Processes } from "../../../lib/base/host.ts";
import { inNamespace, obstacleToNamespace } from "../../../lib/vmm/firecracker/namespace.ts";

const COMMAND = { program: "/opt/fire cracker", args: ["--api-sock", "/run/a b'$(x)/api.sock"], cwd: "/" };
const PROGRAMS = { ip: "/sbin/ip", unshare: "/usr/bin/unshare" };

Deno.test("inNamespace() gives words as words, and takes every capability where there is a user namespace", () => {
  const { program, args, cwd } = inNamespace(COMMAND, { hasUserNamespace: true, programs: PROGRAMS });
  assert.deepEqual([program, cwd], ["/usr/bin/unshare", "/"]);
  assert.deepEqual(args.slice(0, 4), ["--user", "--map-root-user", "--net", "--"]);
  assert.deepEqual(args.slice(-3), [COMMAND.program, ...COMMAND.args]);
  assert.ok(args.includes("--bounding-set=-all") && args.includes("--no-new-privs"));
});

Deno.test("inNamespace() of root makes no user namespace", () => {
  const { args } = inNamespace(COMMAND, { hasUserNamespace: false, programs: PROGRAMS });
  assert.equal(args[0], "--net");
  assert.ok(!args.includes("setpriv"));
});

interface World {
  readonly missing?: string;
  readonly code?: number;
  readonly stderr?: string;
  readonly tun?: "works" | "absent" | "forbidden";
  readonly settings?: Readonly<Record<string, string>>;
}

function hostOf(
  { missing, code = 1, stderr = "unshare: unshare failed: Operation not permitted", ...rest }: World,
) {
  const settings = rest.settings ?? {};
  return {
    processes: {
      which: (program: string) => Promise.resolve(program === missing ? undefined : `/usr/bin/${program}`),
      run: () => Promise.resolve({ code, stdout: "", stderr }),
    } as unknown as Processes,
    files: {
      stat: (path: string) =>
        Promise.resolve(
          (path === "/dev/net/tun" ? rest.tun !== "absent" : path in settings) ? {} : undefined,
        ),
      readText: (path: string) => Promise.resolve(`${settings[path]}\n`),
      open: () =>
        rest.tun === "forbidden"
          ? Promise.reject(new BangerError("permission_denied", "no"))
          : Promise.resolve({ close() {} }),
    } as unknown as Files,
  };
}

const OBSTACLES: readonly [string, World, RegExp, RegExp][] = [
  ["no unshare", { missing: "unshare" }, /unshare is not installed/, /util-linux/],
  ["no ip", { missing: "ip" }, /ip is not installed/, /iproute2/],
  ["no tun device", { tun: "absent" }, /tun is absent/, /modprobe tun/],
  ["a tun device for root only", { tun: "forbidden" }, /does not open for this user/, /chmod 666/],
  [
    "Debian's switch",
    { settings: { "/proc/sys/kernel/unprivileged_userns_clone": "0" } },
    /to root only/,
    /unprivileged_userns_clone=1/,
  ],
  [
    "no user namespaces at all",
    { settings: { "/proc/sys/user/max_user_namespaces": "0" } },
    /switched off/,
    /max_user_namespaces=/,
  ],
  [
    "Ubuntu's AppArmor",
    { settings: { "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1" } },
    /AppArmor/,
    /apparmor_restrict_unprivileged_userns=0/,
  ],
  [
    "something else",
    { stderr: "RTNETLINK answers: No such device\nmore" },
    /: RTNETLINK answers: No such device$/,
    /see/,
  ],
];

for (const [what, world, why, remedy] of OBSTACLES) {
  Deno.test(`obstacleToNamespace() tells ${what} and what helps`, async () => {
    const obstacle = await obstacleToNamespace(hostOf(world), false);
    assert.match(obstacle?.why ?? "", why);
    assert.match(obstacle?.remedy ?? "", remedy);
  });
}

Deno.test("obstacleToNamespace() finds none where one can be made, whatever the settings are", async () => {
  const settings = { "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1" };
  assert.equal(await obstacleToNamespace(hostOf({ code: 0, settings }), false), undefined);
});
