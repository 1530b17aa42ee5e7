/** Homes that cannot be written to, in a mount namespace of their own: nothing of this host is mounted over. */
import assert from "node:assert/strict";

const BANGER = new URL("../../../build/bin/banger", import.meta.url).pathname;

/** Root, or a user whose kernel lets them have a namespace. @returns undefined where neither */
async function namespaceFlags(): Promise<string[] | undefined> {
  for (const flags of [["--mount"], ["--mount", "--user", "--map-root-user"]]) {
    const { code } = await new Deno.Command("unshare", { args: [...flags, "true"], stderr: "null" }).output();
    if (code === 0) return flags;
  }
  return undefined;
}

const flags = await namespaceFlags();
if (!flags) console.log("skipped: this host gives no mount namespace (unshare --mount)");

/** @param prepare shell that makes the home, whose path is `$1`, what it is to be */
async function bangerIn(prepare: string, ...args: string[]) {
  const place = await Deno.makeTempDir({ prefix: "banger home ü-" });
  const script = `set -eu; mount -t tmpfs tmpfs "$1"; ${prepare}
    export HOME="$1"; shift; code=0; "$@" || code=$?; find "$HOME" -name '*.tmp*'; exit $code`;
  try {
    const { code, stdout, stderr } = await new Deno.Command("unshare", {
      args: [...flags!, "sh", "-c", script, "sh", place, BANGER, ...args],
      env: { PATH: Deno.env.get("PATH") ?? "", LANG: "C.UTF-8" },
      clearEnv: true,
      stdin: "null",
    }).output();
    const decoder = new TextDecoder();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  } finally {
    await Deno.remove(place);
  }
}

for (
  const [what, prepare, code, message] of [
    ["read-only", 'mount -o remount,ro "$1"', 5, /the filesystem is read-only\n.*XDG_STATE_HOME/],
    ["full", 'mount -o remount,size=64k "$1"', 8, /no space left on the disk\n.*Free some space/],
  ] as const
) {
  Deno.test({
    name: `a home that is ${what}: commands say so and leave nothing half-made`,
    ignore: flags === undefined,
    async fn() {
      for (const args of [["ps"], ["doctor"]]) {
        const result = await bangerIn(prepare, ...args);
        assert.equal(result.code, code, result.stderr);
        assert.match(result.stderr, message);
        assert.equal(result.stdout, "", "no result, and no file that was begun");
      }
      assert.equal((await bangerIn(prepare, "version")).code, 0, "what needs no home works");
    },
  });
}
