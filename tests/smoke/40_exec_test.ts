import assert from "node:assert/strict";
import { BANGER, banger, environment, ok, refused, removing, start, until } from "./fixture.ts";

/** One machine for all scenarios of this file. */
const VM = "exec-vm";

async function exec(command: readonly string[], flags: readonly string[] = []) {
  return await banger(["vm", "exec", VM, ...flags, "--", ...command]);
}

Deno.test("exec", async (t) => {
  await using _vm = removing(VM);
  await ok(["vm", "create", "--name", VM, "--cpus", "1", "--memory", "1G", "--env", "PROJECT=x y"]);

  await t.step("stdout, stderr and the exit code are the command's own", async () => {
    const result = await exec(["sh", "-c", "echo out; echo err >&2; exit 3"]);
    assert.deepEqual(result, { code: 3, stdout: "out\n", stderr: "err\n" });
  });

  await t.step("a command that a signal ended gives 128 and its number", async () => {
    assert.equal((await exec(["sh", "-c", "kill -TERM $$"])).code, 143);
  });

  await t.step("a missing command is 127, one that can't run 126, a missing directory an error", async () => {
    assert.equal((await exec(["no-such-command"])).code, 127);
    assert.equal((await exec(["/etc/passwd"])).code, 126);
    const result = await exec(["true"], ["--workdir", "/nowhere"]);
    assert.notEqual(result.code, 0);
    assert.match(result.stderr, /nowhere/);
  });

  await t.step("working directory and environment are as asked", async () => {
    const result = await exec(["sh", "-c", 'echo "$PWD|$PROJECT|$EXTRA|$HOME"'], [
      "-w",
      "/var",
      "-e",
      "EXTRA=1=2",
    ]);
    assert.equal(result.stdout, "/var|x y|1=2|/root\n");
  });

  await t.step("arguments arrive as they are: spaces, quotes, line breaks, UTF-8", async () => {
    const words = ["a b", "'\"", "x\ny", "ü", "", "--rm"];
    const result = await exec(["printf", "%s|", ...words]);
    assert.equal(result.stdout, words.map((word) => `${word}|`).join(""));
  });

  await t.step("20 MB go in and come back the same", async () => {
    const bytes = new Uint8Array(20 * 2 ** 20);
    for (let i = 0; i < bytes.length; i += 65536) crypto.getRandomValues(bytes.subarray(i, i + 65536));
    const sum = async (data: Uint8Array<ArrayBuffer>) =>
      [...new Uint8Array(await crypto.subtle.digest("SHA-256", data))].map((b) =>
        b.toString(16).padStart(2, "0")
      ).join("");
    const result = await banger(["vm", "exec", VM, "--", "sha256sum"], { stdin: bytes });
    assert.equal(result.stdout.split(" ")[0], await sum(bytes));
    const big = await exec(["sh", "-c", "yes 0123456789 | head -c 20000000"]);
    assert.equal(big.stdout.length, 20_000_000);
  });

  await t.step("ten commands at once do not mix", async () => {
    const results = await Promise.all(
      Array.from({ length: 10 }, (_, i) => exec(["sh", "-c", `echo ${i}; sleep 0.2; echo ${i}; exit ${i}`])),
    );
    assert.deepEqual(
      results.map(({ code, stdout }) => [code, stdout]),
      results.map((_, i) => [i, `${i}\n${i}\n`]),
    );
  });

  await t.step("Ctrl-C reaches the command, a second one leaves it", async () => {
    const polite = start([
      "vm",
      "exec",
      VM,
      "--",
      "sh",
      "-c",
      "trap 'echo caught; exit 9' INT; echo ready; sleep 100 & wait",
    ]);
    const reader = polite.stdout.getReader();
    await reader.read();
    polite.kill("SIGINT");
    assert.equal(new TextDecoder().decode((await reader.read()).value), "caught\n");
    assert.equal((await polite.status).code, 9);
    await Promise.all([reader.cancel(), polite.stderr.cancel()]);

    const stubborn = start(["vm", "exec", VM, "--", "sh", "-c", "trap '' INT; echo ready; sleep 77777"]);
    const stubbornReader = stubborn.stdout.getReader();
    await stubbornReader.read();
    stubborn.kill("SIGINT");
    await new Promise((resolve) => setTimeout(resolve, 300));
    stubborn.kill("SIGINT");
    assert.equal((await stubborn.status).code, 130);
    assert.match(await new Response(stubborn.stderr).text(), /left the command/);
    await stubbornReader.cancel();
    await until(
      async () => (await exec(["pgrep", "-f", "sleep 77777"])).code === 1,
      "what was left is ended",
    );
  });

  await t.step("a terminal: its size, its changes, colours and the exit code", async () => {
    const session = `banger-smoke-${Deno.pid}`;
    const tmux = async (...args: string[]) => {
      const { stdout, stderr, success } = await new Deno.Command("tmux", {
        args: ["-L", session, ...args],
        env: environment({ TERM: "xterm-256color" }),
        clearEnv: true,
      }).output();
      assert.ok(success, new TextDecoder().decode(stderr));
      return new TextDecoder().decode(stdout);
    };
    const screen = async (pattern: RegExp) => {
      await until(async () => pattern.test(await tmux("capture-pane", "-p")), `${pattern} is on the screen`);
    };
    await tmux(
      "new-session",
      "-d",
      "-x",
      "100",
      "-y",
      "30",
      `${BANGER} vm ssh ${VM} --agent; echo "left with $?"; sleep 100`,
    );
    try {
      await screen(/root@exec-vm/);
      await tmux("send-keys", "stty size; tty", "Enter");
      await screen(/30 100\s+\/dev\/pts\//);
      await tmux("resize-window", "-x", "90", "-y", "20");
      await tmux("send-keys", "clear; stty size", "Enter");
      await screen(/20 90/);
      // Waited for: a Ctrl-C that comes while the shell still reads the line would find nothing to end.
      await tmux("send-keys", "echo slee$((1))ping; sleep 1000", "Enter");
      await screen(/slee1ping/);
      await tmux("send-keys", "C-c");
      await tmux("send-keys", "C-c");
      await tmux("send-keys", "clear; echo still $((40 + 2))", "Enter");
      await screen(/still 42/);
      await tmux("send-keys", "exit 5", "Enter");
      await screen(/left with 5/);
    } finally {
      await tmux("kill-server");
    }
  });

  await t.step("the system's ssh gets in, knows the host's key, and passes the exit code", async () => {
    await until(
      async () => (await exec(["systemctl", "is-active", "--quiet", "ssh"])).code === 0,
      "sshd runs",
      120_000,
    );
    const result = await banger(["vm", "ssh", VM, "--", "echo over ssh; exit 6"]);
    assert.equal(result.stdout, "over ssh\n", result.stderr);
    assert.equal(result.code, 6);
  });

  await t.step(
    "the guest has a way out, a name, a clean systemd and the user's git identity or none",
    async () => {
      const result = await exec([
        "sh",
        "-c",
        "hostname; ip -4 -br addr show eth0; systemctl --failed --no-legend; test -e /dev/vdc && echo config",
      ]);
      assert.match(result.stdout, /^exec-vm\neth0\s+\S+\s+10\.0\.2\.15\/24 \nconfig\n$/);
    },
  );

  await t.step(
    "the agent that started before systemd is its service's, and comes back after a crash",
    async () => {
      const main = async () => {
        const unit = ["systemctl", "show", "--value", "--property=MainPID", "banger-vsock-agent"];
        return (await exec(unit)).stdout.trim();
      };
      const first = await main();
      const seen = await exec([
        "sh",
        "-c",
        `tr '\\0' ' ' </proc/${first}/cmdline; cat /proc/${first}/cgroup /proc/self/cgroup; nice`,
      ]);
      const group = "0::/system.slice/banger-vsock-agent.service\n";
      assert.equal(
        seen.stdout,
        `/usr/local/bin/banger-vsock-agent --when /run/banger/ready ${group}${group}0\n`,
        seen.stderr,
      );
      await exec(["sh", "-c", `kill -9 ${first}`]);
      await until(async () => !["", "0", first].includes(await main()), "another agent", 120_000);
      assert.equal((await exec(["systemctl", "is-active", "banger-vsock-agent"])).stdout, "active\n");
    },
  );

  await t.step("events and console are there to read", async () => {
    assert.match(await ok(["vm", "logs", VM, "--events"]), /created[\s\S]*started/);
    assert.match(await ok(["vm", "logs", VM]), /banger-init: handing over/);
    const shown = JSON.parse(await ok(["vm", "show", VM, "--json"])) as Record<string, unknown>;
    assert.deepEqual([shown.cpus, shown.memoryMib, shown.state], [1, 1024, "running"]);
    assert.match(await ok(["ps"]), /exec-vm\s+running\s+debian-bookworm\s+1\s+\d+ MiB \/ 1 GiB/);
  });

  await t.step("a VM that is stopped can't be reached into", async () => {
    await ok(["vm", "stop", VM, "--force"]);
    await refused(["vm", "ssh", VM], 4, /it is stopped/);
    assert.match(await ok(["vm", "show", VM]), /power cut on request/);
  });
});
