/** The user's repository in a real VM: in, worked on, out again. */
import assert from "node:assert/strict";
import { banger, environment, HOME, ok, refused, removing, STATE, vmNames } from "./fixture.ts";
import { BUSYBOX, makeTar } from "./small_images.ts";

const VM = "workspace-vm";

async function bash(cwd: string, script: string): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command("bash", {
    args: ["-ec", script],
    cwd,
    env: environment({ GIT_CONFIG_GLOBAL: "/dev/null" }),
    clearEnv: true,
  }).output();
  assert.equal(code, 0, `${script}\n${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

/** A project with a history, changes of every kind, and tests that fail or not. */
async function makeProject(directory: string): Promise<void> {
  await bash(
    directory,
    `git init -q -b main; git config user.name 'A User'; git config user.email user@example.org
    git remote add origin https://token@example.org/project.git
    for i in $(seq 12); do echo "line $i" >>file; git add .; git commit -qm "commit $i"; done
    printf 'test:\\n\\t@echo testing; test "$$(wc -l <file)" -eq 12\\n' >Makefile; mkdir -p src/deep; echo code >src/deep/x
    ln -s file link; echo '*.o' >.gitignore; git add .; git commit -qm "commit 13"
    echo staged >>src/deep/x; git add src; echo more >>src/deep/x; git rm -q --cached link; chmod +x Makefile
    printf u >$'un\\ntracked\\xff'; echo o >ignored.o; echo SECRET=1 >.env`,
  );
}

Deno.test("workspace", async (t) => {
  const project = await Deno.makeTempDir({ prefix: "banger-project-" });
  await using _project = { [Symbol.asyncDispose]: () => Deno.remove(project, { recursive: true }) };
  await makeProject(project);
  const here = { cwd: project };
  const lean = ["--cpus", "1", "--memory", "1G"];
  await using _vm = removing(VM);
  const inside = (script: string) => ok(["vm", "exec", VM, "-w", "/root/repo", "--", "bash", "-ec", script]);

  await t.step("--plan says what would go, and nothing runs", async () => {
    await Deno.writeTextFile(`${project}/.nvmrc`, "v20\n");
    const text = await ok(["vm", "run", "--plan"], { cwd: `${project}/src` });
    await Deno.remove(`${project}/.nvmrc`);
    assert.match(text, /^Repository: .*banger-project-/m);
    assert.match(text, /^Secrets: +"\.env": left out/m);
    assert.match(text, /^Tools: +node 20 \(\.nvmrc\)/m);
    assert.deepEqual((await vmNames()).filter((name) => name === VM), []);
  });

  await t.step("vm run --name runs make in it as outside: exit code, output, status, log", async () => {
    const result = await banger(["vm", "run", "src", "--name", VM, ...lean, "--", "make", "test"], here);
    assert.equal(result.code, 0, result.stderr);
    assert.equal(result.stdout, "testing\n");
    assert.match(result.stderr, /left out, since they look like secrets: "\.env"/);
    const status = "git status --porcelain | grep -v ' .env$'";
    assert.equal(await inside(status), await bash(project, status));
    const log = "git log -10 --format='%H %an %s'; git log --format=%h | wc -l";
    assert.equal(await inside(log), (await bash(project, log)).replace(/\d+\n$/, "10\n"));
    assert.equal(
      await inside(
        "git config user.email; git remote get-url origin; stat -c '%U %a' Makefile; ls -A; git fsck 2>&1",
      ),
      "user@example.org\nhttps://example.org/project.git\nroot 755\n" +
        await bash(project, "ls -A | grep -a -v -e '^.env$' -e '^ignored.o$'"),
    );
  });

  await t.step("failing tests fail with make's own code and output", async () => {
    await bash(project, "echo 'line 13' >>file");
    const result = await banger(["vm", "run", "--name", VM, "-q", "--", "make", "test"], here);
    const outside = await new Deno.Command("make", { args: ["test"], cwd: project }).output();
    assert.equal(result.code, outside.code);
    assert.equal(result.stdout, new TextDecoder().decode(outside.stdout));
    assert.match(result.stderr, /make: \*\*\* \[Makefile:2: test\] Error 1/);
  });

  await t.step("work done inside is shown, and never overwritten unseen", async () => {
    await inside(
      `sed -i 's/line 3/three/' file; git commit -qam 'inside'; echo new >new; ln -s /etc/passwd out
      printf '\\0\\1' >bin; git config --global --add safe.directory '*'`,
    );
    const status = JSON.parse(await ok(["vm", "workspace", "status", VM, "--json"])) as {
      changes: { path: string }[];
      commits: number;
      isExported: boolean;
      risks: { kind: string; path: string }[];
    };
    assert.deepEqual(status.changes.map(({ path }) => path), ["bin", "file", "new", "out"]);
    assert.deepEqual([status.commits, status.isExported], [1, false]);
    assert.deepEqual(status.risks.map(({ kind, path }) => `${kind}: ${path}`), [
      "binary: bin",
      "leaves the tree: out",
    ]);
    const again = ["vm", "run", "--name", VM, "--", "true"];
    await refused(again, 4, /work in VM workspace-vm would be lost[\s\S]*M file/, here);
    await refused(["vm", "workspace", "prepare", VM, project], 4, /would be lost/);
    await refused([...again.slice(0, 4), "--cpus", "2", "--", "true"], 4, /exists already/, here);
  });

  await t.step("it comes back as a patch, as a branch, and onto the files", async () => {
    const patch = await ok(["vm", "workspace", "diff", VM]);
    assert.match(patch, /^-line 3\n\+three$/m);
    await ok(["vm", "workspace", "export", VM, "--output", "work.patch"], { cwd: HOME });
    assert.equal(await Deno.readTextFile(`${HOME}/work.patch`), patch);
    await Deno.remove(`${HOME}/work.patch`);
    await ok(["vm", "workspace", "export", VM, "--as-branch", "from-vm", "--yes"]);
    assert.equal(await bash(project, "git log -2 --format=%s from-vm"), "inside\ncommit 13\n");
    await refused(["vm", "workspace", "export", VM, "--apply"], 4, /not agreed to/);
    await bash(project, "sed -i 's/line 9/nine/' file");
    await ok(["vm", "workspace", "export", VM, "--apply", "--yes"]);
    assert.equal(
      await bash(project, "grep -n -e three -e nine file; cat new; readlink out; stat -c %s bin"),
      "3:three\n9:nine\nnew\n/etc/passwd\n2\n",
    );
    const { code, stderr } = await banger([
      "vm",
      "run",
      "--name",
      VM,
      "-q",
      "--",
      "git",
      "diff",
      "--quiet",
      "--",
      "new",
    ], here);
    assert.equal(code, 0, stderr);
  });

  await t.step("tools are installed in the background where mise is, and logged", async () => {
    await inside(`printf '#!/bin/sh\\necho mise "$@"\\n' >/usr/local/bin/mise; chmod +x /usr/local/bin/mise`);
    await Deno.writeTextFile(`${project}/.tool-versions`, "nodejs 20.1.0\nrust 1.80 # fine\n../evil $(x)\n");
    const { stderr, code } = await banger(["vm", "run", "--name", VM, "--", "true"], here);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /installing in the background: node 20\.1\.0 \(\.tool-versions\), rust 1\.80/);
    const log = await inside(
      "until grep -q done /root/.banger/tools.log; do sleep 0.2; done; cat /root/.banger/tools.log",
    );
    assert.match(log, /mise use --global --yes node@20\.1\.0\ninstalling rust@1\.80/);
    await ok(["vm", "rm", "--force", "--purge", VM]);
  });

  await t.step("--rm keeps work that nobody took out, and says where", async () => {
    const { stderr, code } = await banger([
      "vm",
      "run",
      "--rm",
      "--no-tools",
      ...lean,
      "--",
      "sh",
      "-c",
      "echo kept >kept; exit 6",
    ], here);
    assert.equal(code, 6, stderr);
    const path = /this work is kept: (\S+\.patch)/.exec(stderr)?.[1];
    assert.ok(path?.startsWith(`${STATE}/exports/`), stderr);
    await bash(project, `git apply ${path}; grep kept kept; rm ${path}`);
  });

  await t.step("an image without git, make or tar gets the repository all the same", async () => {
    const applets = ["sh", "ls", "cat", "sleep"].map((name) => [`bin/${name}`, { link: "busybox" }] as const);
    const tar = await makeTar(project, "bare", { "bin/busybox": BUSYBOX, ...Object.fromEntries(applets) });
    await Deno.rename(tar, `${HOME}/bare.tar`);
    await Deno.remove(`${project}/bare.tree`, { recursive: true });
    await ok(["image", "pull", "--quiet", "--name", "workspace-bare", `tar:${HOME}/bare.tar`]);
    await using _image = {
      [Symbol.asyncDispose]: async () => void await banger(["image", "rm", "workspace-bare"]),
    };
    await using _bare = removing("workspace-bare");
    const run = [
      "vm",
      "run",
      "--name",
      "workspace-bare",
      "--image",
      "workspace-bare",
      "-c",
      "1",
      "-m",
      "512M",
      "-q",
    ];
    assert.equal(await ok([...run, "--", "cat", "new", "kept"], here), "new\nkept\n");
    await ok(["vm", "exec", "workspace-bare", "--", "sh", "-c", "echo inside >/root/repo/by-hand"]);
    assert.match(
      await ok(["vm", "workspace", "status", "workspace-bare"]),
      /^1 file changed .*\n {2}A by-hand {2}\+1 -0\n$/,
    );
  });

  await t.step("nothing of it is left", async () => {
    const left: string[] = [];
    for await (const { name } of Deno.readDir(`${STATE}/workspaces`)) left.push(name);
    assert.deepEqual(left.filter((name) => name.startsWith(".staging-")), []);
  });
});
