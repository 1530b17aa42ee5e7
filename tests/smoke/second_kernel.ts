/** A kernel that is not the default one, made of it: other text in `uname -v`, and a module less. */
import { HOME, runProgram, STATE } from "./fixture.ts";
import assert from "node:assert/strict";

/** What stands in its `uname -v`, where Debian's own names Debian. */
export const SECOND = "Second";
/** Not in the second one's modules. */
export const LEFT_OUT_MODULES = "drivers/net/wireguard";

/** @returns the directory for `kernel import --from`; remove it at the end */
export async function makeSecondKernel(): Promise<string> {
  const directory = `${HOME}/second-kernel`;
  const script = `
    set -eu
    from=$1; to=$2
    version=$(sed -n 's/^ *"version": "\\(.*\\)",$/\\1/p' "$from/manifest.json")
    modules=$to/lib/modules/$version
    rm -rf "$to"; mkdir -p "$modules"
    LC_ALL=C sed 's/ Debian \\([0-9]\\)/ ${SECOND} \\1/g' "$from/vmlinux" >"$to/vmlinux"
    for name in kernel modules.builtin modules.builtin.modinfo modules.order; do
      debugfs -R "rdump /$name $modules" "$from/modules.ext4" 2>/dev/null
    done
    rm -r "$modules/kernel/${LEFT_OUT_MODULES}"`;
  const made = await runProgram("sh", "-c", script, "sh", `${STATE}/kernels/debian`, directory);
  assert.equal(made.code, 0, made.stderr);
  return directory;
}
