import assert from "node:assert/strict";
import { gunzipSync } from "node:zlib";
import { realHost } from "../../../lib/sys/host.ts";
import { libc } from "../../../lib/sys/libc.ts";
import { resolvePaths } from "../../../lib/store/paths.ts";
import { collectSupportFiles, packSupportFiles, type SupportWorld } from "../../../lib/support/bundle.ts";

// Opened once and for good by whoever reads a kernel's file first: here, so that no test seems to leak it.
libc();

const BUILD = { version: "1.2.3", commit: "abc", builtAt: "2026-01-01T00:00:00Z" };
const ID = "0123456789ab";
/** None of these may occur in a bundle, wherever they were put. */
const SECRETS = [
  "hunter2-environment",
  "s3cr3t-of-a-vm",
  "user-info-password",
  "ghp_0123456789abcdefghijABCDEFGHIJ",
  "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU",
  "secret-in-a-comment",
  "unknown-setting-value",
  "cookie-value-1234",
  "bearer-value.1234567",
  "second-line-of-it",
  "ada@example.org",
  "json-token-value",
  "quoted words of a pass phrase",
  "AKIAABCDEFGHIJKLMNOP",
  "presigned0123456789",
  "half-a-key-0123456789",
  "disk-content-0123",
] as const;
const [
  ENVIRONMENT,
  OF_VM,
  USER_INFO,
  GITHUB,
  KEY,
  COMMENT,
  UNKNOWN,
  COOKIE,
  BEARER,
  SECOND,
  EMAIL,
  JSON_TOKEN,
] = SECRETS;

async function withHome(
  files: Readonly<Record<string, string>>,
  body: (world: SupportWorld, home: string) => Promise<void>,
): Promise<void> {
  const home = await Deno.makeTempDir({ prefix: "banger-support-" });
  try {
    for (const [path, text] of Object.entries(files)) {
      await Deno.mkdir(`${home}/${path.slice(0, path.lastIndexOf("/"))}`, { recursive: true });
      await Deno.writeTextFile(`${home}/${path}`, text);
    }
    const paths = resolvePaths((name) => name === "HOME" ? home : undefined, 1000);
    const doctor = () =>
      Promise.resolve([{ check: "x", severity: "ok" as const, found: `https://u:${USER_INFO}@host/` }]);
    await body({ host: realHost(), paths, build: BUILD, doctor }, home);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
}

const STATE = ".local/state/banger";
const SEEDED: Readonly<Record<string, string>> = {
  ".config/banger/config.toml": `# ${COMMENT}
token_of_nobody = "${UNKNOWN}"
[defaults]
image = "alpine:3.20"
[defaults.environment]
PLAIN = """${ENVIRONMENT}
${SECOND}"""
[registries]
insecure = ["registry.lan:5000"]
[[registries.mirrors]]
prefix = "docker.io"
location = "u:${USER_INFO}@mirror.lan"
[acp]
command = ["agent", "${UNKNOWN}"]
`,
  [`${STATE}/daemon.log`]: [
    `{"level":"info","url":"https://me:${USER_INFO}@registry.lan/v2/"}`,
    `{"level":"info","note":"PLAIN=${ENVIRONMENT} and ${SECOND}"}`,
    `Authorization: Bearer ${BEARER}`,
    `Set-Cookie: session=${COOKIE}; Path=/`,
    `{"access_token": "${JSON_TOKEN}", "vm": "web"}`,
    `GET https://cdn.test/blob?X-Amz-Signature=${SECRETS[14]}&x=1`,
    "an ordinary line",
  ].join("\n"),
  [`${STATE}/vms/${ID}/vm.json`]: JSON.stringify({
    name: "web",
    record: {
      spec: { cpus: 2, environment: { NAME: OF_VM }, gitIdentity: { name: "Ada L", email: EMAIL } },
    },
  }),
  [`${STATE}/vms/${ID}/events.jsonl`]: `{"event":"started","detail":"with ${OF_VM}"}\n`,
  [`${STATE}/vms/${ID}/console.log`]: [
    SECRETS[15],
    "-----END OPENSSH PRIVATE KEY-----",
    `export GITHUB_TOKEN=${GITHUB}`,
    "-----BEGIN OPENSSH PRIVATE KEY-----",
    KEY,
    "-----END OPENSSH PRIVATE KEY-----",
    `DB_PASSWORD="${SECRETS[12]}" aws ${SECRETS[13]} ${EMAIL}`,
    "login: root",
  ].join("\n"),
  [`${STATE}/vms/${ID}/machine.log`]: `qemu: warning ${GITHUB}\n`,
  [`${STATE}/vms/${ID}/work.raw`]: SECRETS[16],
  [`${STATE}/vms/${ID}/config.tar`]: SECRETS[16],
  [`${STATE}/vms/${ID}/ssh_host_ed25519_key`]: SECRETS[16],
  [`${STATE}/ssh/id_ed25519`]: SECRETS[16],
};

Deno.test("no seeded secret occurs in a bundle, and what helps does", () =>
  withHome(SEEDED, async (world) => {
    const files = await collectSupportFiles(world);
    const archive = new TextDecoder().decode(gunzipSync(packSupportFiles(files)));
    for (const secret of SECRETS) assert.ok(!archive.includes(secret), `${secret} is in it`);
    for (
      const kept of [
        "banger 1.2.3",
        'image = "alpine:3.20"',
        "PLAIN",
        "registry.lan:5000",
        "an ordinary line",
        '"vm": "web"',
        '"cpus": 2',
        "qemu: warning",
        "login: root",
      ]
    ) assert.ok(archive.includes(kept), `${kept} is not in it`);
    assert.deepEqual(files.map(({ name }) => name), [
      "versions.txt",
      "doctor.json",
      "config.toml",
      "daemon.log",
      `vms/${ID}/vm.json`,
      `vms/${ID}/events.jsonl`,
      `vms/${ID}/console.log`,
      `vms/${ID}/machine.log`,
    ]);
  }));

Deno.test("an empty home, a doctor that fails, and files that are damaged give a bundle", () =>
  withHome({
    ".config/banger/config.toml": `[defaults.environment]\nX = "${ENVIRONMENT}\n`,
    [`${STATE}/vms/${ID}/vm.json`]: `{"environment": {"X": "${OF_VM}`,
    [`${STATE}/vms/not-an-id/console.log`]: "no",
  }, async (world) => {
    const files = await collectSupportFiles({
      ...world,
      doctor: () => Promise.reject(new Error("no daemon")),
    });
    const text = JSON.stringify(files);
    assert.match(text, /no daemon/);
    assert.match(text, /it is no TOML/);
    assert.ok(!text.includes(ENVIRONMENT) && !text.includes(OF_VM));
    assert.equal(files.length, 4);
  }));

Deno.test("logs are cut at a line: of a long one only the end is taken", () =>
  withHome({
    [`${STATE}/vms/${ID}/console.log`]: `${`PASSWORD=${"x".repeat(90)}\n`.repeat(1000)}end\n`,
    [`${STATE}/vms/${ID}/machine.log`]: "y".repeat(200_000),
  }, async (world) => {
    const files = await collectSupportFiles(world);
    const textOf = (name: string) => files.find((file) => file.name.endsWith(name))?.text;
    assert.ok(textOf("console.log")!.endsWith("end\n"));
    assert.ok(!textOf("console.log")!.includes("xxx"));
    assert.equal(textOf("machine.log"), "");
  }));

Deno.test("masking takes no long time for any console", () =>
  withHome({
    [`${STATE}/vms/${ID}/console.log`]: "a-".repeat(8000) + "-eyJ".repeat(4000) + "://".repeat(4000) +
      "=".repeat(8000),
  }, async (world) => {
    const startedAtMs = performance.now();
    await collectSupportFiles(world);
    assert.ok(performance.now() - startedAtMs < 5000);
  }));
