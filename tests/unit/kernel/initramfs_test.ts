import assert from "node:assert/strict";
import { writeCpio } from "../../../lib/kernel/cpio.ts";
import { chooseInitramfsModules, initramfsBase, initramfsScripts } from "../../../lib/kernel/initramfs.ts";
import { ModuleGraph, moduleNameOf, parseModule } from "../../../lib/kernel/modules.ts";
import { INIT_APPLETS, SCRIPTS } from "../../../lib/kernel/scripts.ts";
import { kernelModule, VIRTIO_MODULES } from "./fixtures.ts";
import { isBanger } from "./support.ts";

interface Member {
  readonly mode: number;
  readonly content: string;
}

/** Reads newc by its definition, archives one after another as the kernel does. */
function readCpio(bytes: Uint8Array): Map<string, Member> {
  const text = (from: number, to: number) => String.fromCharCode(...bytes.subarray(from, to));
  const members = new Map<string, Member>();
  for (let at = 0; at < bytes.length;) {
    if (bytes[at] === 0) {
      at++;
      continue;
    }
    assert.equal(text(at, at + 6), "070701");
    assert.equal(at % 4, 0);
    const field = (index: number) => parseInt(text(at + 6 + index * 8, at + 14 + index * 8), 16);
    const name = text(at + 110, at + 110 + field(11) - 1);
    const contentAt = Math.ceil((at + 110 + field(11)) / 4) * 4;
    const content = new TextDecoder("latin1").decode(bytes.subarray(contentAt, contentAt + field(6)));
    if (name !== "TRAILER!!!") members.set(name, { mode: field(1), content });
    at = Math.ceil((contentAt + field(6)) / 4) * 4;
  }
  return members;
}

function graphOf(modules: Readonly<Record<string, readonly string[]>>): ModuleGraph {
  const infos = Object.entries(modules).map(([path, fields]) =>
    parseModule(`kernel/${path}.ko`, kernelModule(fields))
  );
  return new ModuleGraph(infos, []);
}

Deno.test("writeCpio() writes every kind of entry, the same bytes each time", () => {
  const write = () =>
    writeCpio([
      { kind: "directory", path: "d", mode: 0o755 },
      { kind: "file", path: "d/f", mode: 0o644, content: new TextEncoder().encode("hello") },
      { kind: "symlink", path: "l", target: "d/f" },
      { kind: "character-device", path: "c", mode: 0o600, major: 5, minor: 1 },
    ]);
  assert.deepEqual(write(), write());
  assert.equal(write().length % 512, 0);
  assert.deepEqual([...readCpio(write())], [
    ["d", { mode: 0o40755, content: "" }],
    ["d/f", { mode: 0o100644, content: "hello" }],
    ["l", { mode: 0o120777, content: "d/f" }],
    ["c", { mode: 0o20600, content: "" }],
  ]);
});

Deno.test("the initramfs loads each module after what it needs, and none twice", () => {
  const graph = graphOf({
    ...VIRTIO_MODULES,
    "drivers/virtio/virtio_pci_modern_dev": ["depends="],
    "drivers/virtio/virtio_pci": ["depends=virtio,virtio_ring,virtio_pci_modern_dev"],
    "net/vmw_vsock/vsock": ["depends="],
    "net/vmw_vsock/vmw_vsock_virtio_transport": ["depends=vsock,virtio"],
    "fs/unused": ["depends="],
  });
  const { disks, pci, others } = chooseInitramfsModules(graph, new Set(["ext4"]));
  const names = (list: typeof disks) => list.map(({ name }) => name);
  assert.deepEqual(names(disks), ["virtio_ring", "virtio", "virtio_mmio", "virtio_blk"]);
  assert.deepEqual(names(pci), ["virtio_pci_modern_dev", "virtio_pci"]);
  assert.deepEqual(names(others), ["virtio_net", "virtio_console", "vsock", "vmw_vsock_virtio_transport"]);
});

Deno.test("drivers in the kernel itself need no modules", () => {
  const builtin = ["virtio_mmio", "virtio_blk", "ext4", "virtio_net", "virtio_console"];
  const { disks, pci, others } = chooseInitramfsModules(graphOf({}), new Set(builtin));
  assert.deepEqual([disks, pci, others], [[], [], []]);
});

for (const missing of ["virtio_mmio", "virtio_blk", "ext4", "virtio_net", "virtio_console"]) {
  Deno.test(`a kernel without ${missing} is refused`, () => {
    const modules = Object.fromEntries(
      Object.entries({ ...VIRTIO_MODULES, "fs/ext4": ["depends="] })
        .filter(([path]) => moduleNameOf(path) !== missing),
    );
    assert.throws(
      () => chooseInitramfsModules(graphOf(modules), new Set()),
      isBanger("host_unsupported", new RegExp(missing)),
    );
  });
}

Deno.test("the initramfs has what /init needs: programs, modules, lists, devices", async () => {
  const graph = graphOf(VIRTIO_MODULES);
  const modules = chooseInitramfsModules(graph, new Set(["ext4"]));
  const busybox = new TextEncoder().encode("the busybox");
  const base = await initramfsBase(
    busybox,
    modules,
    ({ name }) => Promise.resolve(new TextEncoder().encode(`module ${name}`)),
  );
  const whole = new Uint8Array([...base, ...initramfsScripts()]);
  const members = readCpio(whole);
  assert.equal(members.get("bin/busybox")?.content, "the busybox");
  assert.equal(members.get("bin/mount")?.content, "busybox");
  assert.equal(members.get("dev/console")?.mode, 0o20600);
  assert.equal(members.get("modules/virtio_blk")?.content, "module virtio_blk");
  assert.equal(members.get("modules/disks.list")?.content, "virtio_ring\nvirtio\nvirtio_mmio\nvirtio_blk\n");
  assert.equal(members.get("init")?.content, SCRIPTS.init);
  assert.equal(members.get("init")?.mode, 0o100755);
  assert.equal(members.get("guest/bin/set-up")?.mode, 0o100755);
  assert.equal(members.get("guest/inittab")?.mode, 0o100644);
  for (const list of SCRIPTS.init.matchAll(/load_modules (\w+)/g)) {
    if (list[1] !== "load_modules") assert.ok(members.has(`modules/${list[1]}.list`), list[1]);
  }
});

Deno.test("/init calls no program that the initramfs lacks", () => {
  // Words at the beginning of a command, minus the shell's own and the functions.
  const builtins = new Set(
    [
      "case",
      "do",
      "done",
      "echo",
      "else",
      "esac",
      "exec",
      "fi",
      "for",
      "if",
      "read",
      "return",
      "then",
      "until",
    ]
      .concat([
        "wait",
        "while",
        "in",
        "[",
        "say",
        "fail",
        "load_modules",
        "wait_for_disk",
        "in_root",
        "attach",
      ]),
  );
  const called = new Set<string>();
  for (const line of SCRIPTS.init.split("\n")) {
    if (line.trim().startsWith("#")) continue;
    for (
      const match of line.replace(/^\s*exec /, "").matchAll(
        /(?:^\s*|\$\(|&& |\|\| |\| |; |(?<!\w)do )([a-z_]+)(?= |$)/g,
      )
    ) {
      if (!builtins.has(match[1]!)) called.add(match[1]!);
    }
  }
  const unknown = [...called].filter((name) => !(INIT_APPLETS as readonly string[]).includes(name));
  assert.deepEqual(unknown, []);
  assert.ok(called.has("mount") && called.has("switch_root"), [...called].join(" "));
  const uncalled = INIT_APPLETS.filter((name) => !SCRIPTS.init.includes(name));
  assert.deepEqual(uncalled, []);
});
