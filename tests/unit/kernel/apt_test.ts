import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { CommandLine, Host, PipedProcess, RunOptions, RunResult } from "../../../lib/base/host.ts";
import { parseKernelName } from "../../../lib/base/names.ts";
import { AptFetcher } from "../../../lib/kernel/apt.ts";
import { KernelStore } from "../../../lib/kernel/store.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { BUSYBOX_CONTROL, deb, KERNEL_CONTROL, kernelPackageFiles } from "./fixtures.ts";
import {
  inTemporaryDirectory,
  isBanger,
  NEVER,
  ports,
  RecordedProgress,
  recordingDiskBuilder,
} from "./support.ts";

const SOURCES = "deb http://mirror.example/debian bookworm main\ndeb http://vendor.example/x bookworm main\n";
const DEBIAN = parseKernelName("debian");

interface Archive {
  /** Fields and content by package name. */
  readonly packages: Map<string, { fields: Record<string, string>; content: Uint8Array }>;
  readonly sources: string;
  /** What a program does instead, by its last word. */
  readonly failures: Map<string, Partial<RunResult>>;
}

function add(archive: Archive, control: Record<string, string>, content: Uint8Array, depends = ""): void {
  const fields = {
    ...control,
    Depends: depends,
    Size: String(content.length),
    SHA256: createHash("sha256").update(content).digest("hex"),
  };
  archive.packages.set(control.Package!, { fields, content });
}

function debianArchive(): Archive {
  const archive: Archive = { packages: new Map(), sources: SOURCES, failures: new Map() };
  const { Package, Version } = KERNEL_CONTROL;
  add(archive, KERNEL_CONTROL, deb(KERNEL_CONTROL, kernelPackageFiles()), "kmod");
  add(archive, BUSYBOX_CONTROL, deb(BUSYBOX_CONTROL, [{ path: "./bin/busybox", content: "bb" }]));
  const meta = { Package: "linux-image-cloud-amd64", Version, Architecture: "amd64" };
  add(archive, meta, new Uint8Array(8), `${Package} (= ${Version})`);
  return archive;
}

/** Does what the three programs of apt do with an archive in memory, and notes their command lines. */
function hostWith(archive: Archive, directory: string): { host: Host; commands: string[] } {
  const real = realHost();
  const commands: string[] = [];
  const run = async (command: CommandLine, options?: RunOptions): Promise<RunResult> => {
    options?.signal?.throwIfAborted();
    commands.push([command.program, ...command.args].join(" "));
    const last = command.args.at(-1) ?? "";
    const failure = archive.failures.get(last) ?? archive.failures.get(command.program);
    if (failure) return { code: 0, stdout: "", stderr: "", ...failure };
    if (command.program === "apt-config") {
      await Deno.writeTextFile(`${directory}/sources.list`, archive.sources);
      const stdout = `LIST='${directory}/sources.list'\nPARTS='${directory}/parts/'\n`;
      return { code: 0, stdout, stderr: "" };
    }
    if (command.program === "apt-cache") {
      const found = archive.packages.get(last);
      if (!found) return { code: 100, stdout: "", stderr: "E: No packages found\n" };
      const stdout = Object.entries(found.fields).map(([key, value]) => `${key}: ${value}\n`).join("");
      return { code: 0, stdout: `${stdout}\n`, stderr: "" };
    }
    return { code: 0, stdout: "", stderr: "" };
  };
  const pipe = async (command: CommandLine): Promise<PipedProcess> => {
    const { code, stderr } = await run(command);
    const [name] = command.args.at(-1)!.split("=");
    const { fields, content } = archive.packages.get(name!)!;
    const file = `${name}_${fields.Version!.replaceAll(":", "%3a")}_${fields.Architecture}.deb`;
    if (code === 0) await Deno.writeFile(`${command.cwd}/${file}`, content);
    const status = new Uint8Array(new TextEncoder().encode("dlstatus:1:50.0:Retrieving\n"));
    const stdout = new ReadableStream<Uint8Array<ArrayBuffer>>({
      start(controller) {
        controller.enqueue(status);
        controller.close();
      },
    });
    return { stdout, result: Promise.resolve({ code, stderr }) };
  };
  const which = (name: string) => Promise.resolve(`/usr/bin/${name}`);
  return { host: { ...real, processes: { ...real.processes, run, pipe, which } }, commands };
}

async function withArchive(
  archive: Archive,
  body: (place: { host: Host; commands: string[]; directory: string; store: KernelStore }) => Promise<void>,
): Promise<void> {
  await inTemporaryDirectory(async (directory) => {
    const { host, commands } = hostWith(archive, directory);
    const places = { kernelsDirectory: `${directory}/kernels`, cacheDirectory: `${directory}/cache` };
    await body({
      host,
      commands,
      directory,
      store: new KernelStore(host, places, ports(recordingDiskBuilder())),
    });
  });
}

Deno.test("pull() follows the meta package to its kernel", async () => {
  await withArchive(debianArchive(), async ({ store, directory }) => {
    const progress = new RecordedProgress();
    const kernel = await store.pull(DEBIAN, progress, NEVER);
    assert.equal(kernel.source, `${KERNEL_CONTROL.Package} ${KERNEL_CONTROL.Version}`);
    assert.equal(kernel.distribution, "debian");
    assert.deepEqual(progress.stages.slice(0, 2), ["fetch package lists", "download kernel"]);
    const sources = await Deno.readTextFile(`${directory}/cache/apt/host/sources/banger.sources`);
    assert.match(sources, /mirror\.example/);
    assert.doesNotMatch(sources, /vendor/);
  });
});

Deno.test("pull() of what is there changes nothing, of something newer replaces it", async () => {
  const archive = debianArchive();
  await withArchive(archive, async ({ store, commands, directory }) => {
    const first = await store.pull(DEBIAN, new RecordedProgress(), NEVER);
    const inode = (await Deno.stat(first.vmlinuxPath)).ino;
    assert.deepEqual(await store.pull(DEBIAN, new RecordedProgress(), NEVER), first);
    assert.equal((await Deno.stat(first.vmlinuxPath)).ino, inode);
    assert.equal(commands.filter((command) => command.includes(" download ")).length, 2);
    assert.equal(commands.filter((command) => command.endsWith(" update")).length, 1, "lists are fresh");

    const control = { ...KERNEL_CONTROL, Version: "6.1.2-1" };
    add(archive, control, deb(control, kernelPackageFiles()));
    const meta = { Package: "linux-image-cloud-amd64", Version: "6.1.2-1", Architecture: "amd64" };
    add(archive, meta, new Uint8Array(8), `${control.Package} (= ${control.Version})`);
    assert.equal(
      (await store.pull(DEBIAN, new RecordedProgress(), NEVER)).source,
      `${control.Package} 6.1.2-1`,
    );
    const left = [...Deno.readDirSync(`${directory}/kernels`)].map(({ name }) => name).sort();
    assert.deepEqual(left, [".debian.lock", "debian"]);
  });
});

Deno.test("pull() replaces a kernel that is broken", async () => {
  await withArchive(debianArchive(), async ({ store }) => {
    const kernel = await store.pull(DEBIAN, new RecordedProgress(), NEVER);
    await Deno.remove(`${kernel.directory}/manifest.json`);
    assert.equal((await store.pull(DEBIAN, new RecordedProgress(), NEVER)).sha256, kernel.sha256);
  });
});

Deno.test("apt runs with private directories, without the host's hooks, with verification on", async () => {
  await withArchive(debianArchive(), async ({ store, commands, directory }) => {
    await store.pull(DEBIAN, new RecordedProgress(), NEVER);
    const configuration = await Deno.readTextFile(`${directory}/cache/apt/host/apt.conf`);
    for (
      const name of [
        "Dir::State::lists",
        "Dir::Cache::archives",
        "Dir::State::status",
        "Dir::Etc::sourceparts",
      ]
    ) {
      assert.match(configuration, new RegExp(`^${name} "${directory}/`, "m"));
    }
    assert.match(configuration, /^#clear APT::Update::Post-Invoke;$/m);
    assert.match(configuration, /^APT::Get::AllowUnauthenticated "false";$/m);
    for (const command of commands.filter((line) => !line.startsWith("apt-config"))) {
      assert.match(command, /--config-file=\S+\/apt\.conf/);
    }
  });
});

Deno.test("a suite of one's own takes the place of the host's", async () => {
  const archive = {
    ...debianArchive(),
    sources: "deb http://mirror.example/debian-security bookworm-security main\n" + SOURCES,
  };
  await withArchive(archive, async ({ host, directory }) => {
    const apt = new AptFetcher(host, `${directory}/apt`, "forky");
    const found = await apt.find("busybox-static", NEVER);
    const path = await apt.download(found, `${directory}/debs`, new RecordedProgress(), NEVER);
    assert.equal(path, `${directory}/debs/busybox-static_1%3a1.35.0-4_amd64.deb`);
    const sources = await Deno.readTextFile(`${directory}/apt/forky/sources/banger.sources`);
    assert.match(sources, /^Suites: forky$/m);
    assert.match(sources, /^URIs: http:\/\/mirror\.example\/debian$/m);
  });
});

for (
  const [name, change, code, message] of [
    [
      "a host without Debian sources",
      (archive: Archive) => ({ ...archive, sources: "deb http://archive.ubuntu.com/ubuntu jammy main\n" }),
      "host_unsupported",
      /no Debian sources/,
    ],
    [
      "no network",
      fails("update", { code: 100, stderr: "junk\nE: Failed to fetch \u001b[31mx\n" }),
      "source_unavailable",
      /E: Failed to fetch \?\[31mx/,
    ],
    [
      "a download that fails",
      fails("apt-get", { code: 100, stderr: "E: 404\n" }),
      "source_unavailable",
      /404/,
    ],
    ["no such package", without("linux-image-cloud-amd64"), "not_found", /linux-image-cloud-amd64/],
    ["a meta package without its kernel", without(KERNEL_CONTROL.Package), "not_found", /linux-image-6/],
    ["no busybox", without("busybox-static"), "not_found", /busybox-static/],
    [
      "another checksum",
      (archive: Archive) => {
        archive.packages.get("busybox-static")!.fields.SHA256 = "0".repeat(64);
        return archive;
      },
      "corrupt_data",
      /checksum/,
    ],
    [
      "a meta package that names no version",
      (archive: Archive) => {
        archive.packages.get("linux-image-cloud-amd64")!.fields.Depends = "linux-image-6.1.0-1-test";
        return archive;
      },
      "source_unavailable",
      /no such package/,
    ],
    [
      "a version that would be an option",
      (archive: Archive) => {
        archive.packages.get("busybox-static")!.fields.Version = "-o=x";
        return archive;
      },
      "not_found",
      /busybox-static/,
    ],
    [
      "a corrupt package",
      (archive: Archive) => {
        const { content } = archive.packages.get(KERNEL_CONTROL.Package)!;
        add(archive, KERNEL_CONTROL, content.subarray(0, content.length - 200), "");
        return archive;
      },
      "corrupt_data",
      /ends too early/,
    ],
  ] as const
) {
  Deno.test(`pull() with ${name} fails clearly and leaves no kernel`, async () => {
    await withArchive(change(debianArchive()), async ({ store, directory }) => {
      await assert.rejects(store.pull(DEBIAN, new RecordedProgress(), NEVER), isBanger(code, message));
      assert.deepEqual([...Deno.readDirSync(`${directory}/kernels`)].map(({ name }) => name), [
        ".debian.lock",
      ]);
    });
  });
}

function fails(what: string, result: Partial<RunResult>) {
  return (archive: Archive) => {
    archive.failures.set(what, result);
    return archive;
  };
}

function without(name: string) {
  return (archive: Archive) => {
    archive.packages.delete(name);
    return archive;
  };
}

Deno.test("a host without apt is told how to go on", async () => {
  await withArchive(debianArchive(), async ({ host, directory }) => {
    const processes = { ...host.processes, which: () => Promise.resolve(undefined) };
    const apt = new AptFetcher({ ...host, processes }, `${directory}/apt`);
    await assert.rejects(apt.find("busybox-static", NEVER), (thrown) => {
      isBanger("missing_tool", /no apt-get/)(thrown);
      assert.match((thrown as { hint?: string }).hint ?? "", /kernel import/);
      return true;
    });
  });
});

Deno.test("names that apt would take for options or paths are refused", async () => {
  await withArchive(debianArchive(), async ({ host, directory }) => {
    const apt = new AptFetcher(host, `${directory}/apt`);
    for (const name of ["", "-o", "../x", "A", "a b", "./x.deb"]) {
      await assert.rejects(apt.find(name, NEVER), isBanger("invalid_argument"));
    }
    for (const suite of ["", "../x", "-x", "a b", "Forky"]) {
      assert.throws(() => new AptFetcher(host, directory, suite), isBanger("invalid_argument"));
    }
  });
});

Deno.test("too little space is said before the download", async () => {
  await withArchive(debianArchive(), async ({ host, directory }) => {
    const files = { ...host.files, freeBytes: () => Promise.resolve(5 * 1024 * 1024) };
    const apt = new AptFetcher({ ...host, files }, `${directory}/apt`);
    await assert.rejects(apt.find("busybox-static", NEVER), isBanger("no_space", /5\.?0? MiB free/));
  });
});

Deno.test("a cancelled pull ends with the signal's reason", async () => {
  await withArchive(debianArchive(), async ({ store }) => {
    const reason = new Error("enough");
    await assert.rejects(store.pull(DEBIAN, new RecordedProgress(), AbortSignal.abort(reason)), reason);
  });
});
