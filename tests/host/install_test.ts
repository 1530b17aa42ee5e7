import assert from "node:assert/strict";
import { createHash } from "node:crypto";

const INSTALLER = new URL("../../scripts/install.sh", import.meta.url).pathname;
const sha256 = (content: string) => createHash("sha256").update(content).digest("hex");
const program = (version: string) => `#!/bin/sh\necho "banger $\{1} ${version}"\n`;

interface Place {
  readonly home: string;
  /** What the server has, by name. */
  readonly files: Map<string, string>;
  readonly url: string;
  readonly install: (...args: string[]) => Promise<{ code: number; stderr: string }>;
  readonly installed: () => Promise<string | undefined>;
}

async function withPlace(body: (place: Place) => Promise<void>, homeName = "a home ü"): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "banger-install-" });
  const home = `${root}/${homeName}`;
  await Deno.mkdir(home);
  const files = new Map<string, string>();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    const content = files.get(decodeURIComponent(new URL(request.url).pathname.slice(1)));
    return content === undefined ? new Response("no", { status: 404 }) : new Response(content);
  });
  const url = `http://127.0.0.1:${server.addr.port}`;
  try {
    await body({
      home,
      files,
      url,
      async install(...args) {
        const { code, stderr } = await new Deno.Command("sh", {
          args: [INSTALLER, ...args],
          env: { HOME: home, PATH: Deno.env.get("PATH") ?? "", BANGER_RELEASE_URL: url },
          clearEnv: true,
          stdout: "null",
        }).output();
        return { code, stderr: new TextDecoder().decode(stderr) };
      },
      installed: () => Deno.readTextFile(`${home}/.local/bin/banger`).catch(() => undefined),
    });
  } finally {
    await server.shutdown();
    await Deno.remove(root, { recursive: true });
  }
}

function publish(files: Map<string, string>, version: string, content = program(version)): void {
  const name = `banger-${version}-linux-x86_64`;
  files.set(name, content);
  files.set("SHA256SUMS", `${"0".repeat(64)}  install.sh\n${sha256(content)}  ${name}\n`);
}

async function leftovers(home: string): Promise<string[]> {
  const names = await Array.fromAsync(Deno.readDir(`${home}/.local/bin`)).catch(() => []);
  return names.map(({ name }) => name).filter((name) => name !== "banger");
}

Deno.test("install.sh installs, does nothing twice, upgrades, and uninstalls", () =>
  withPlace(async ({ home, files, install, installed }) => {
    publish(files, "1.0.0");
    const first = await install();
    assert.equal(first.code, 0, first.stderr);
    assert.match(first.stderr, /installed banger version 1\.0\.0/);
    assert.match(first.stderr, /is not on PATH/);
    assert.equal(await installed(), program("1.0.0"));
    assert.match((await install()).stderr, /installed already/);
    publish(files, "1.1.0");
    assert.equal((await install()).code, 0);
    assert.equal(await installed(), program("1.1.0"));
    assert.deepEqual(await leftovers(home), []);
    assert.match((await install("--uninstall")).stderr, /VMs, images and settings stay/);
    assert.equal(await installed(), undefined);
    assert.match((await install("--uninstall")).stderr, /nothing to do/);
  }));

Deno.test("install.sh installs nothing that is not what the checksum says, or does not run", () =>
  withPlace(async ({ home, files, install, installed }) => {
    publish(files, "1.0.0");
    await install();
    publish(files, "2.0.0");
    files.set("banger-2.0.0-linux-x86_64", "something else");
    const damaged = await install();
    assert.equal(damaged.code, 1);
    assert.match(damaged.stderr, /SHA-256 is not what SHA256SUMS says/);
    publish(files, "2.0.0", "#!/bin/sh\necho 'needs glibc 2.27' >&2\nexit 1\n");
    const broken = await install();
    assert.equal(broken.code, 1);
    assert.match(broken.stderr, /Cannot run banger on this host: needs glibc 2\.27/);
    files.delete("banger-2.0.0-linux-x86_64");
    assert.match((await install()).stderr, /Cannot fetch/);
    assert.equal(await installed(), program("1.0.0"), "the old one stays");
    assert.deepEqual(await leftovers(home), []);
  }));

Deno.test("install.sh says what it cannot understand, find or reach", () =>
  withPlace(async ({ files, install, installed }) => {
    for (
      const [args, message] of [
        [["--colour"], /unknown --colour/],
        [["--to"], /--to needs a value/],
        [[], /Cannot fetch .*SHA256SUMS/],
        [["--url", "http://127.0.0.1:1"], /Cannot fetch/],
      ] as const
    ) {
      const { code, stderr } = await install(...args);
      assert.equal(code, 1, stderr);
      assert.match(stderr, message);
    }
    publish(files, "1.0.0");
    assert.match((await install("--version", "9.9.9")).stderr, /lists no such executable/);
    assert.match((await install("--version", "1.0.0.*")).stderr, /lists no such executable/);
    assert.equal(await installed(), undefined);
    assert.equal((await install("--version", "1.0.0")).code, 0);
  }));

Deno.test("install.sh without a home, and into a place that cannot be written to, says what to do", () =>
  withPlace(async ({ home, files, url }) => {
    publish(files, "1.0.0");
    const run = async (env: Record<string, string>, ...args: string[]) => {
      const { code, stderr } = await new Deno.Command("sh", {
        args: [INSTALLER, ...args],
        env: { PATH: Deno.env.get("PATH") ?? "", BANGER_RELEASE_URL: url, ...env },
        clearEnv: true,
        stdout: "null",
      }).output();
      assert.equal(code, 1);
      return new TextDecoder().decode(stderr);
    };
    assert.match(await run({}), /HOME is not set/);
    await Deno.writeTextFile(`${home}/file`, "");
    assert.match(await run({ HOME: home }, "--to", `${home}/file/bin`), /Cannot make/);
    assert.match(await run({ HOME: home, BANGER_RELEASE_URL: "" }), /this script is of no release/);
  }));
