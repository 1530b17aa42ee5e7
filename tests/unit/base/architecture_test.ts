import assert from "node:assert/strict";
import { type Architecture, ARCHITECTURES } from "../../../lib/base/architecture.ts";

/** Debian's linux-libc-dev: the kernel's own tables, as programs are compiled with them. */
const HEADERS = "/usr/include";

function header(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(`${HEADERS}/${path}`);
  } catch (thrown) {
    if (thrown instanceof Deno.errors.NotFound) return undefined;
    throw thrown;
  }
}

const generic = header("asm-generic/unistd.h");
const x86 = header("x86_64-linux-gnu/asm/unistd_64.h") ?? header("asm/unistd_64.h");
const elf = header("linux/elf-em.h");
const flags = header("asm-generic/fcntl.h");
const isMissing = [generic, x86, elf, flags].some((text) => text === undefined);
if (isMissing) console.log("skipped: the kernel's headers are not here (Debian's linux-libc-dev, x86-64)");

/** @returns the value of a #define; of several, as the generic table has for 32 bits, the first */
function defined(text: string, name: string): bigint | undefined {
  const value = new RegExp(`^\\s*#define\\s+${name}\\s+(\\d+)`, "m").exec(text)?.[1];
  // In C a number that begins with 0 is octal.
  return value === undefined ? undefined : BigInt(/^0\d/.test(value) ? `0o${value.slice(1)}` : value);
}

Deno.test({
  name: "ARCHITECTURES: numbers of system calls are those of the kernel's tables",
  ignore: isMissing,
  fn() {
    for (const [architecture, text] of [["x86_64", x86!], ["aarch64", generic!]] as const) {
      for (const [name, number] of Object.entries(ARCHITECTURES[architecture].systemCalls)) {
        assert.equal(number, defined(text, `__NR_${name}`), `${name} on ${architecture}`);
      }
      // The same on all: those that are made by number elsewhere.
      for (
        const [name, number] of [["pidfd_send_signal", 424n], ["pidfd_open", 434n], [
          "openat2",
          437n,
        ]] as const
      ) {
        assert.equal(defined(text, `__NR_${name}`), number, `${name} on ${architecture}`);
      }
    }
  },
});

Deno.test({
  name: "ARCHITECTURES: ELF machines and open flags are those of the kernel's headers",
  ignore: isMissing,
  fn() {
    assert.equal(BigInt(ARCHITECTURES.x86_64.elfMachine), defined(elf!, "EM_X86_64"));
    assert.equal(BigInt(ARCHITECTURES.aarch64.elfMachine), defined(elf!, "EM_AARCH64"));
    // x86-64 has the generic values; arm64's own header is in no Debian package but the cross compiler's.
    assert.equal(BigInt(ARCHITECTURES.x86_64.openFlags.direct), defined(flags!, "O_DIRECT"));
    assert.equal(BigInt(ARCHITECTURES.x86_64.openFlags.directory), defined(flags!, "O_DIRECTORY"));
    assert.equal(BigInt(ARCHITECTURES.x86_64.openFlags.noFollow), defined(flags!, "O_NOFOLLOW"));
  },
});

Deno.test("ARCHITECTURES: this host's facts are true of its own files", () => {
  const own = ARCHITECTURES[Deno.build.arch as Architecture];
  const head = new Uint8Array(20);
  using executable = Deno.openSync(Deno.execPath());
  executable.readSync(head);
  assert.equal(new DataView(head.buffer).getUint16(18, true), own.elfMachine);
  assert.equal(Deno.build.target.split("-")[0], own.compileTarget.split("-")[0]);
});

Deno.test("ARCHITECTURES: nothing that must differ is the same for two", () => {
  const { x86_64: x86, aarch64: arm } = ARCHITECTURES;
  for (
    const key of ["debianName", "elfMachine", "libraryDirectory", "muslLoader", "compileTarget"] as const
  ) {
    assert.notEqual(x86[key], arm[key], key);
  }
  for (const key of ["program", "package", "machine", "console"] as const) {
    assert.notEqual(x86.qemu[key], arm.qemu[key], key);
  }
});
