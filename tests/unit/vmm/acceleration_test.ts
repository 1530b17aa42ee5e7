import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import type { Files, FileStat, RandomAccessFile } from "../../../lib/base/host.ts";
import { chooseAcceleration, decideAcceleration } from "../../../lib/vmm/acceleration.ts";
import { timestampCounterKhz } from "../../../lib/vmm/cpu_info.ts";

function cpuInfo(flags: string, mhz = "2596.122"): string {
  const one = (index: number) =>
    `processor\t: ${index}\ncpu MHz\t\t: ${mhz}\nflags\t\t: ${flags}\nbugs\t\t: spectre_v1\n\n`;
  return one(0) + one(1);
}

const CASES = [
  ["fpu vme vmx sse", "usable", "kvm", /vmx/],
  ["fpu svm sse", "usable", "kvm", /svm/],
  ["fpu vmx", "absent", "tcg", /absent/],
  ["fpu svm", "forbidden", "tcg", /group kvm/],
  // A paravirtual KVM: the device opens, and no ordinary kernel boots.
  ["fpu hypervisor", "usable", "tcg", /neither vmx nor svm, whatever \/dev\/kvm says/],
  ["fpu hypervisor", "absent", "tcg", /neither vmx nor svm: /],
  ["fpu vmx_like svm2 xvmx", "usable", "tcg", /neither/],
] as const;

for (const [flags, device, kind, why] of CASES) {
  Deno.test(`decideAcceleration() takes ${kind} for "${flags}" with a device that is ${device}`, () => {
    const chosen = decideAcceleration(cpuInfo(flags), device, "x86_64");
    assert.equal(chosen.kind, kind);
    assert.match(chosen.why, why);
  });
}

Deno.test("decideAcceleration() says of software emulation that it isolates nothing", () => {
  assert.match(decideAcceleration(cpuInfo("fpu"), "usable", "x86_64").why, /no isolation boundary/);
});

Deno.test("decideAcceleration() takes software emulation where /proc/cpuinfo has no flags", () => {
  assert.equal(decideAcceleration("processor : 0\n", "usable", "x86_64").kind, "tcg");
});

Deno.test("decideAcceleration() asks arm64 for no flag: its /dev/kvm is there where it works", () => {
  const info = "processor\t: 0\nFeatures\t: fp asimd evtstrm aes\n\n";
  assert.deepEqual(decideAcceleration(info, "usable", "aarch64"), {
    kind: "kvm",
    why: "/dev/kvm is usable",
  });
  assert.equal(decideAcceleration(info, "absent", "aarch64").kind, "tcg");
});

function filesWithKvm(open: () => Promise<RandomAccessFile>, stat: FileStat | undefined) {
  return {
    files: {
      readText: () => Promise.resolve(cpuInfo("vmx")),
      stat: () => Promise.resolve(stat),
      open,
    } as unknown as Files,
    processes: { architecture: "x86_64" as const },
  };
}
const DEVICE: FileStat = { kind: "other", sizeBytes: 0, allocatedBytes: 0, mode: 0o660, uid: 0, mtimeMs: 0 };

Deno.test("chooseAcceleration() opens the device for writing and closes it", async () => {
  let closed = 0;
  const file = { close: () => closed++ } as unknown as RandomAccessFile;
  assert.equal((await chooseAcceleration(filesWithKvm(() => Promise.resolve(file), DEVICE))).kind, "kvm");
  assert.equal(closed, 1);
});

Deno.test("chooseAcceleration() tells a forbidden device from an absent one", async () => {
  const denied = () => Promise.reject(new BangerError("permission_denied", "Cannot open /dev/kvm"));
  assert.match((await chooseAcceleration(filesWithKvm(denied, DEVICE))).why, /group kvm/);
  assert.match((await chooseAcceleration(filesWithKvm(denied, undefined))).why, /absent/);
  const noDevice = () => Promise.reject(new BangerError("internal", "Cannot open /dev/kvm: ENODEV"));
  assert.match((await chooseAcceleration(filesWithKvm(noDevice, DEVICE))).why, /absent/);
});

const EXACT = "fpu tsc constant_tsc tsc_known_freq hypervisor";
const FREQUENCIES = [
  ["a virtual machine that was told", cpuInfo(EXACT), 2596122],
  ["a processor whose clock moves (aperfmperf)", cpuInfo(`${EXACT} aperfmperf`), undefined],
  ["no hypervisor", cpuInfo("tsc constant_tsc tsc_known_freq"), undefined],
  ["a frequency that was measured", cpuInfo("tsc constant_tsc hypervisor"), undefined],
  ["a counter that is not constant", cpuInfo("tsc tsc_known_freq hypervisor"), undefined],
  ["a figure of no sense", cpuInfo(EXACT, "x; rm -rf"), undefined],
  ["an empty file", "", undefined],
] as const;

for (const [what, text, khz] of FREQUENCIES) {
  Deno.test(`timestampCounterKhz() gives ${khz} for ${what}`, () =>
    assert.equal(timestampCounterKhz(text), khz));
}
