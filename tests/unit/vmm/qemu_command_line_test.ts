import assert from "node:assert/strict";
import type { MachineSpec } from "../../../lib/vmm/driver.ts";
import { kernelCommandLine, qemuArguments } from "../../../lib/vmm/qemu/command_line.ts";

const X86 = { architecture: "x86_64" } as const;
const SPEC: MachineSpec = {
  id: "0123456789abcdef",
  runtimeDirectory: "/run/user/1000/banger/vm",
  cpus: 2,
  memoryMib: 1024,
  kernel: { vmlinuxPath: "/k/vmlinux", initramfsPath: "/k/initramfs.cpio" },
  drives: [
    { id: "root", path: "/v/root.qcow2", format: "qcow2", backingPath: "/i/rootfs.ext4", readOnly: false },
    { id: "work", path: "/v/work.raw", format: "raw", readOnly: false },
    { id: "config", path: "/v/config.tar", format: "raw", readOnly: true },
  ],
  network: { mode: "user", mac: "52:54:00:00:00:01" },
  transport: { kind: "virtio-serial" },
  logPath: "/v/qemu.log",
};

function valuesOf(args: readonly string[], option: string): string[] {
  return args.flatMap((arg, index) => arg === option ? [args[index + 1]!] : []);
}

Deno.test("qemuArguments() is exactly this for an emulated machine over virtio-serial", () => {
  const args = qemuArguments(SPEC, { ...X86, acceleration: "tcg", timestampCounterKhz: 2596122 });
  const file = (filename: string, readOnly: boolean) =>
    `{"driver":"file","filename":"${filename}","aio":"threads","discard":"unmap","read-only":${readOnly}}`;
  const disk = (id: string) =>
    `{"driver":"virtio-blk-device","drive":"${id}","id":"disk-${id}","serial":"${id}","write-cache":"on",` +
    `"rerror":"report","werror":"stop"}`;
  assert.deepEqual(args, [
    ...["-name", "banger-0123456789abcdef"],
    ...["-nodefaults", "-no-user-config", "-no-reboot"],
    ...["-display", "none"],
    ...["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"],
    ...["-machine", "microvm,acpi=on,pcie=off,usb=off,graphics=off,pic=on,pit=on,rtc=on,isa-serial=on"],
    ...["-accel", "tcg,thread=multi", "-cpu", "max,-erms,-smap"],
    ...["-smp", "cpus=2"],
    ...["-m", "size=1024M"],
    ...["-kernel", "/k/vmlinux", "-initrd", "/k/initramfs.cpio"],
    "-append",
    "console=ttyS0 quiet panic=-1 reboot=t net.ifnames=0 random.trust_cpu=on cryptomgr.notests tsc=reliable " +
    "no_timer_check nokaslr mitigations=off rcupdate.rcu_expedited=1 lapic.timer_hz=1000000000 alternatives.keep_thunks norandmaps tsc_early_khz=2596122",
    ...["-chardev", "socket,id=qmp,path=/run/user/1000/banger/vm/qmp.sock,server=on,wait=off"],
    ...["-mon", "chardev=qmp,mode=control"],
    "-chardev",
    "socket,id=console,path=/run/user/1000/banger/vm/console.sock,server=off,reconnect=1",
    ...["-serial", "chardev:console"],
    "-blockdev",
    `{"driver":"qcow2","node-name":"root","discard":"unmap","read-only":false,"file":${
      file("/v/root.qcow2", false)
    },"backing":{"driver":"raw","read-only":true,"file":${file("/i/rootfs.ext4", true)}}}`,
    ...["-device", disk("root")],
    "-blockdev",
    `{"driver":"raw","node-name":"work","discard":"unmap","read-only":false,"file":${
      file("/v/work.raw", false)
    }}`,
    ...["-device", disk("work")],
    "-blockdev",
    `{"driver":"raw","node-name":"config","discard":"unmap","read-only":true,"file":${
      file("/v/config.tar", true)
    }}`,
    ...["-device", disk("config")],
    ...[
      "-netdev",
      '{"type":"stream","id":"net0","server":true,"addr":{"type":"unix","path":"/run/user/1000/banger/vm/net.sock"}}',
    ],
    ...[
      "-device",
      '{"driver":"virtio-net-device","netdev":"net0","mac":"52:54:00:00:00:01","host_mtu":65520}',
    ],
    ...["-device", '{"driver":"virtio-rng-device"}'],
    ...["-device", '{"driver":"virtio-balloon-device","id":"balloon0","free-page-reporting":true}'],
    "-chardev",
    "socket,id=agent,path=/run/user/1000/banger/vm/serial.sock,server=off,reconnect=1",
    ...["-device", '{"driver":"virtio-serial-device","id":"serial0"}'],
    "-device",
    '{"driver":"virtserialport","bus":"serial0.0","nr":1,"chardev":"agent","name":"banger.agent"}',
  ]);
});

Deno.test("qemuArguments() for arm64: its machine, its console, and no word that only x86-64 knows", () => {
  const arm64 = { architecture: "aarch64" } as const;
  const args = qemuArguments(SPEC, { ...arm64, acceleration: "tcg", timestampCounterKhz: 2596122 });
  assert.deepEqual(valuesOf(args, "-machine"), ["virt,gic-version=max"]);
  assert.deepEqual(valuesOf(args, "-cpu"), ["max,pauth-impdef=on"]);
  assert.deepEqual(valuesOf(args, "-append"), [
    "console=ttyAMA0 quiet panic=-1 net.ifnames=0 random.trust_cpu=on cryptomgr.notests nokaslr mitigations=off rcupdate.rcu_expedited=1 norandmaps",
  ]);
  const x86 = qemuArguments(SPEC, { ...X86, acceleration: "tcg" });
  const devices = (all: string[]) => [...valuesOf(all, "-device"), ...valuesOf(all, "-blockdev")];
  assert.deepEqual(devices(args).sort(), devices(x86).sort(), "the devices are the same");
  const disks = valuesOf(args, "-device").filter((text) => text.includes("virtio-blk"));
  assert.match(disks.at(-1)!, /"disk-root"/, "this machine's guests find the last one first");
  assert.deepEqual(valuesOf(qemuArguments(SPEC, { ...arm64, acceleration: "kvm" }), "-cpu"), ["host"]);
});

Deno.test("qemuArguments() uses the host's processor with KVM, and leaves the guest its mitigations", () => {
  const args = qemuArguments(SPEC, { ...X86, acceleration: "kvm", timestampCounterKhz: 2596122 });
  assert.deepEqual(valuesOf(args, "-accel"), ["kvm"]);
  assert.deepEqual(valuesOf(args, "-cpu"), ["host"]);
  const [words] = valuesOf(args, "-append");
  for (const absent of ["mitigations=off", "nokaslr", "tsc_early_khz"]) {
    assert.ok(!words!.includes(absent), absent);
  }
});

Deno.test("qemuArguments() names an accelerator once, and none in -machine: QEMU refuses both", () => {
  for (const acceleration of ["kvm", "tcg"] as const) {
    const args = qemuArguments(SPEC, { ...X86, acceleration });
    assert.equal(valuesOf(args, "-accel").length, 1);
    assert.doesNotMatch(valuesOf(args, "-machine")[0]!, /accel/);
  }
});

Deno.test("qemuArguments() gives vhost-device-vsock the guest's memory to share", () => {
  const transport = { kind: "vhost-device-vsock", cid: 7, program: "/p" } as const;
  const args = qemuArguments({ ...SPEC, transport }, { ...X86, acceleration: "tcg" });
  assert.match(valuesOf(args, "-machine")[0]!, /,memory-backend=memory$/);
  const [object] = valuesOf(args, "-object");
  assert.deepEqual(JSON.parse(object!), {
    "qom-type": "memory-backend-memfd",
    id: "memory",
    size: 1024 ** 3,
    share: true,
  });
  assert.ok(args.includes("socket,id=vsock,path=/run/user/1000/banger/vm/vhost.sock"));
  assert.ok(!args.join(" ").includes("virtserialport"));
});

Deno.test("qemuArguments() uses the kernel's vsock with the VM's CID", () => {
  const args = qemuArguments({ ...SPEC, transport: { kind: "vhost-vsock", cid: 7 } }, {
    ...X86,
    acceleration: "kvm",
  });
  assert.ok(args.includes('{"driver":"vhost-vsock-device","guest-cid":7}'));
});

Deno.test("qemuArguments() has no network device where none is wanted", () => {
  const args = qemuArguments({ ...SPEC, network: { mode: "none" } }, { ...X86, acceleration: "tcg" });
  assert.ok(!args.some((arg) => arg.includes("virtio-net")));
});

Deno.test("qemuArguments() lets no path add an option", () => {
  const evil = "/x,server=on,logfile=/etc/passwd";
  const spec: MachineSpec = {
    ...SPEC,
    id: "a,debug-threads=on",
    runtimeDirectory: evil,
    drives: [{ id: "root", path: `${evil}","driver":"nbd`, format: "raw", readOnly: false }],
  };
  const args = qemuArguments(spec, { ...X86, acceleration: "tcg" });
  const doubled = evil.replaceAll(",", ",,");
  for (const value of valuesOf(args, "-chardev")) assert.ok(value.includes(doubled), value);
  assert.equal(valuesOf(args, "-name")[0], "banger-a,,debug-threads=on");
  const blockdev = JSON.parse(valuesOf(args, "-blockdev")[0]!);
  assert.equal(blockdev.driver, "raw");
  assert.equal(blockdev.file.filename, `${evil}","driver":"nbd`);
});

Deno.test("kernelCommandLine() tells an emulated kernel its delays, where its ticks and the counter are known", () => {
  const kernel = { vmlinuxPath: "/k", initramfsPath: "/i", timerHz: 250 };
  const emulated = { ...X86, acceleration: "tcg", timestampCounterKhz: 2_596_122 } as const;
  assert.match(kernelCommandLine(kernel, emulated), / lpj=10384488$/);
  assert.doesNotMatch(kernelCommandLine({ ...kernel, timerHz: 0 }, emulated), /lpj/);
  assert.doesNotMatch(kernelCommandLine(kernel, { ...X86, acceleration: "tcg" }), /lpj/);
  assert.doesNotMatch(kernelCommandLine(kernel, { ...emulated, acceleration: "kvm" }), /lpj/);
});

Deno.test("kernelCommandLine() puts the caller's words last, so that they win", () => {
  const kernel = { vmlinuxPath: "/k", initramfsPath: "/i", extraCommandLine: "loglevel=7 panic=5" };
  assert.match(kernelCommandLine(kernel, { ...X86, acceleration: "tcg" }), / loglevel=7 panic=5$/);
});
