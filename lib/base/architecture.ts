/**
 * Everything that differs between the processors that banger is for, in one table: whoever needs to know takes it
 * from here. What was run on which of them stands in docs/architecture.md.
 */

interface ArchitectureFacts {
  /** As Debian's packages and OCI's platforms call it. */
  readonly debianName: string;
  /** What its processors run besides, as OCI's platforms call it. */
  readonly alsoRuns: readonly string[];
  /** e_machine of its ELF files. */
  readonly elfMachine: number;
  /** Where Debian keeps its shared libraries, below /lib and /usr/lib. */
  readonly libraryDirectory: string;
  readonly muslLoader: string;
  /** `--target` of `deno compile`. */
  readonly compileTarget: string;
  readonly kernel: {
    /** What QEMU boots, unpacked: an ELF file with a PVH entry, or the kernel's own flat image. */
    readonly format: "pvh" | "image";
    /** Words of the command line by which a reset ends QEMU. */
    readonly resetWords: readonly string[];
    /** Words that spare the kernel looking for a clock that it can trust. */
    readonly clockWords: readonly string[];
    /** The word that tells it the frequency of the host's counter, where an emulated guest reads that. */
    readonly frequencyWord: string | undefined;
    /**
     * Words for software emulation that only our own kernel knows (scripts/kernel/patches); to others they are
     * parameters of modules that are not there.
     */
    readonly emulatedWords: readonly string[];
  };
  readonly qemu: {
    readonly program: string;
    /** Debian's package. */
    readonly package: string;
    /** Of `-machine`: the smallest machine with virtio-mmio buses. */
    readonly machine: string;
    /** Of `-cpu`, emulated. */
    readonly emulatedProcessor: string;
    /** Whether the guest finds the last disk of the command line first. */
    readonly isDiskOrderReversed: boolean;
    /** The first serial port, as the guest's kernel calls it. */
    readonly console: string;
  };
  /** Flags in /proc/cpuinfo, one of which KVM needs; where there is none, a usable /dev/kvm is enough. */
  readonly virtualizationFlags: readonly string[];
  /** Of open(2). The rest of what is used here is the same everywhere. */
  readonly openFlags: { readonly direct: number; readonly directory: number; readonly noFollow: number };
  /** Numbers of the calls that the C library cannot make for us. Those above 424 are the same everywhere. */
  readonly systemCalls: Readonly<
    Record<
      "getdents64" | "renameat2" | "setgroups" | "setresgid" | "setresuid" | "statx",
      bigint
    >
  >;
}

/**
 * Sources: Linux arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h,
 * include/uapi/asm-generic/fcntl.h, arch/arm64/include/uapi/asm/fcntl.h, include/uapi/linux/elf-em.h;
 * docs/vmm.md for each of QEMU's options
 */
export const ARCHITECTURES = {
  x86_64: {
    debianName: "amd64",
    alsoRuns: ["386"],
    elfMachine: 62,
    libraryDirectory: "x86_64-linux-gnu",
    muslLoader: "/lib/ld-musl-x86_64.so.1",
    compileTarget: "x86_64-unknown-linux-gnu",
    kernel: {
      format: "pvh",
      resetWords: ["reboot=t"],
      clockWords: ["tsc=reliable", "no_timer_check"],
      frequencyWord: "tsc_early_khz",
      // The local APIC's timer counts nanoseconds (QEMU hw/intc/apic_common.c).
      emulatedWords: ["lapic.timer_hz=1000000000", "alternatives.keep_thunks"],
    },
    qemu: {
      program: "qemu-system-x86_64",
      package: "qemu-system-x86",
      machine: "microvm,acpi=on,pcie=off,usb=off,graphics=off,pic=on,pit=on,rtc=on,isa-serial=on",
      // All instructions that programs may look for, without two features that are slower than doing without them:
      // ERMS makes kernel and C library copy byte by byte, and with SMAP every copy from a program ends a
      // translated block.
      emulatedProcessor: "max,-erms,-smap",
      isDiskOrderReversed: false,
      console: "ttyS0",
    },
    virtualizationFlags: ["vmx", "svm"],
    openFlags: { direct: 0o40000, directory: 0o200000, noFollow: 0o400000 },
    systemCalls: {
      getdents64: 217n,
      renameat2: 316n,
      setgroups: 116n,
      setresgid: 119n,
      setresuid: 117n,
      statx: 332n,
    },
  },
  aarch64: {
    debianName: "arm64",
    alsoRuns: [],
    elfMachine: 183,
    libraryDirectory: "aarch64-linux-gnu",
    muslLoader: "/lib/ld-musl-aarch64.so.1",
    compileTarget: "aarch64-unknown-linux-gnu",
    // PSCI resets through the hypervisor, and the architected timer says its own frequency.
    kernel: {
      format: "image",
      resetWords: [],
      clockWords: [],
      frequencyWord: undefined,
      emulatedWords: [],
    },
    qemu: {
      program: "qemu-system-aarch64",
      package: "qemu-system-arm",
      machine: "virt,gic-version=max",
      // Pointer authentication by QEMU's own, faster cipher.
      emulatedProcessor: "max,pauth-impdef=on",
      isDiskOrderReversed: true,
      console: "ttyAMA0",
    },
    virtualizationFlags: [],
    openFlags: { direct: 0o200000, directory: 0o40000, noFollow: 0o100000 },
    systemCalls: {
      getdents64: 61n,
      renameat2: 276n,
      setgroups: 159n,
      setresgid: 149n,
      setresuid: 147n,
      statx: 291n,
    },
  },
} as const satisfies Record<string, ArchitectureFacts>;

/** As `uname -m` calls it. */
export type Architecture = keyof typeof ARCHITECTURES;
