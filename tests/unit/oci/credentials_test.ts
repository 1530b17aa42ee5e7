import assert from "node:assert/strict";
import type { CommandLine, RunOptions, RunResult } from "../../../lib/base/host.ts";
import { storedCredentials } from "../../../lib/oci/registry/credentials.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { rejectsWith } from "./replayed.ts";

/** A home with files, and a helper that answers from a table. */
async function home(
  files: Readonly<Record<string, unknown>>,
  environment: Readonly<Record<string, string>> = {},
  helper: (command: CommandLine, options: RunOptions) => Partial<RunResult> = () => ({ code: 1 }),
) {
  const directory = await Deno.makeTempDir({ prefix: "banger-oci-" });
  for (const [path, content] of Object.entries(files)) {
    await Deno.mkdir(`${directory}/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
    await Deno.writeTextFile(
      `${directory}/${path}`,
      typeof content === "string" ? content : JSON.stringify(content),
    );
  }
  const variables: Record<string, string> = { HOME: directory };
  for (const [name, path] of Object.entries(environment)) variables[name] = `${directory}/${path}`;
  const host = realHost();
  const processes = {
    ...host.processes,
    run: (command: CommandLine, options: RunOptions = {}) =>
      Promise.resolve({ code: 0, stdout: "", stderr: "", ...helper(command, options) }),
  };
  return {
    find: (registry: string, repository = "a/b") =>
      storedCredentials({ files: host.files, processes }, (name) => variables[name]).find(
        registry,
        repository,
      ),
    [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }),
  };
}

const auth = (username: string, password: string) => ({ auth: btoa(`${username}:${password}`) });
const basic = (username: string, password: string) => ({ kind: "basic", username, password });

Deno.test("Credentials: without files there are no credentials", async () => {
  await using empty = await home({});
  assert.equal(await empty.find("registry.test"), undefined);
});

Deno.test("Credentials: the longest namespace counts", async () => {
  await using some = await home({
    ".config/containers/auth.json": {
      auths: {
        "registry.test": auth("host", "1"),
        "registry.test/a": auth("namespace", "2"),
        "registry.test/a/b": auth("repository", "3"),
        "registry.test/a/bc": auth("other", "4"),
      },
    },
  });
  assert.deepEqual(await some.find("registry.test", "a/b"), basic("repository", "3"));
  assert.deepEqual(await some.find("registry.test", "a/x"), basic("namespace", "2"));
  assert.deepEqual(await some.find("registry.test", "x"), basic("host", "1"));
  assert.equal(await some.find("registry.test.evil", "x"), undefined);
  assert.equal(await some.find("test", "x"), undefined);
});

Deno.test("Credentials: Docker's keys are URLs, and Docker Hub has an old one", async () => {
  await using docker = await home({
    ".docker/config.json": {
      auths: {
        "https://index.docker.io/v1/": auth("hub", "1"),
        "https://registry.test/v2/": auth("url", "pass:with:colons"),
      },
    },
  });
  assert.deepEqual(await docker.find("docker.io", "library/alpine"), basic("hub", "1"));
  assert.deepEqual(await docker.find("registry.test"), basic("url", "pass:with:colons"));
});

Deno.test("Credentials: files are asked in order, and $REGISTRY_AUTH_FILE alone", async () => {
  const files = {
    "run/containers/auth.json": { auths: { "one.test": auth("run", "1") } },
    "config/containers/auth.json": {
      auths: { "one.test": auth("config", "1"), "two.test": auth("config", "2") },
    },
    "docker/config.json": { auths: { "three.test": auth("docker", "3") } },
    "only.json": { auths: {} },
  };
  const environment = { XDG_RUNTIME_DIR: "run", XDG_CONFIG_HOME: "config", DOCKER_CONFIG: "docker" };
  await using all = await home(files, environment);
  assert.deepEqual(await all.find("one.test"), basic("run", "1"));
  assert.deepEqual(await all.find("two.test"), basic("config", "2"));
  assert.deepEqual(await all.find("three.test"), basic("docker", "3"));
  await using only = await home(files, { ...environment, REGISTRY_AUTH_FILE: "only.json" });
  assert.equal(await only.find("one.test"), undefined);
});

Deno.test("Credentials: an identity token is one", async () => {
  await using docker = await home({
    ".docker/config.json": { auths: { "registry.test": { auth: btoa("u:"), identitytoken: "refresh" } } },
  });
  assert.deepEqual(await docker.find("registry.test"), { kind: "identity-token", token: "refresh" });
});

Deno.test("Credentials: a helper is asked through its stdin", async () => {
  const asked: string[] = [];
  await using docker = await home(
    { ".docker/config.json": { credHelpers: { "registry.test": "one" }, credsStore: "all" } },
    {},
    ({ program, args }, { stdin, timeoutMs }) => {
      const server = new TextDecoder().decode(stdin);
      asked.push(`${program} ${args.join(" ")} < ${server}`);
      assert.equal(timeoutMs, 10_000);
      if (server === "none.test") return { code: 1, stdout: "credentials not found in native keychain\n" };
      const username = server === "token.test" ? "<token>" : "u";
      return { stdout: JSON.stringify({ ServerURL: server, Username: username, Secret: "s" }) };
    },
  );
  assert.deepEqual(await docker.find("registry.test"), basic("u", "s"));
  assert.deepEqual(await docker.find("docker.io", "library/alpine"), basic("u", "s"));
  assert.deepEqual(await docker.find("token.test"), { kind: "identity-token", token: "s" });
  assert.equal(await docker.find("none.test"), undefined);
  assert.deepEqual(asked, [
    "docker-credential-one get < registry.test",
    "docker-credential-all get < https://index.docker.io/v1/",
    "docker-credential-all get < token.test",
    "docker-credential-all get < none.test",
  ]);
});

for (const name of ["../evil", "a/b", "a b", "", "-x", "a;b", "x".repeat(65)]) {
  Deno.test(`Credentials: the helper name ${JSON.stringify(name)} is refused`, async () => {
    await using docker = await home(
      { ".docker/config.json": { credHelpers: { "registry.test": name } } },
      {},
      () => assert.fail("it was run"),
    );
    await rejectsWith(docker.find("registry.test"), "invalid_argument", /credential helper/);
  });
}

Deno.test("Credentials: a helper that fails, or answers nonsense, is an error that names it", async () => {
  const config = { ".docker/config.json": { credsStore: "x" } };
  await using failing = await home(config, {}, () => ({ code: 3, stdout: "no keyring" }));
  await rejectsWith(
    failing.find("registry.test"),
    "source_unavailable",
    /docker-credential-x ended with code 3/,
  );
  await using nonsense = await home(config, {}, () => ({ stdout: "not json" }));
  await rejectsWith(nonsense.find("registry.test"), "corrupt_data", /the answer of docker-credential-x/);
});

for (
  const [why, content, code] of [
    ["no JSON", "{", "corrupt_data"],
    ["no object", "[]", "corrupt_data"],
    ["no base64", { auths: { "registry.test": { auth: "%%%" } } }, "invalid_argument"],
    ["a text for an object", { auths: { "registry.test": "x" } }, "corrupt_data"],
  ] as const
) {
  Deno.test(`Credentials: a file with ${why} is an error that names the file`, async () => {
    await using broken = await home({ ".docker/config.json": content });
    await rejectsWith(broken.find("registry.test"), code, /config\.json/);
  });
}
