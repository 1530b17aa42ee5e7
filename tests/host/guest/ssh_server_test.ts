import { deepEqual, equal, match, notEqual, ok } from "node:assert/strict";
import { run, withSshServer } from "./ssh_on_host.ts";

const HOST = "web.vm";

function random(sizeBytes: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(sizeBytes);
  for (let at = 0; at < sizeBytes; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  return bytes;
}

Deno.test("the agent's ssh server, judged by OpenSSH's clients", async (t) => {
  await withSshServer(async (ssh) => {
    const ssh_ = (command: string, stdin?: string | Uint8Array) => ssh.run("ssh", [HOST, command], stdin);

    await t.step("streams, exit codes and signals pass", async () => {
      const result = await ssh_("cat; echo err >&2; exit 3", "in\n");
      deepEqual(result, { code: 3, stdout: "in\n", stderr: "err\n" });
      // ssh tells an end by a signal as 255.
      equal((await ssh_("kill -TERM $$")).code, 255);
      equal((await ssh_("no-such-command")).code, 127);
      match((await ssh_("echo $HOME $USER $PWD")).stdout, /^\/root root \/root\n$/);
    });

    await t.step("20 MB go in and come back, with new keys on the way", async () => {
      const bytes = random(20_000_000);
      const digest = await run("sha256sum", [], bytes);
      const rekeying = ["-o", "RekeyLimit=1M", HOST];
      equal((await ssh.run("ssh", [...rekeying, "sha256sum"], bytes)).stdout, digest.stdout);
      const text = await ssh.run("ssh", [...rekeying, "yes 0123456789 | head -c 20000000"]);
      equal(text.stdout, "0123456789\n".repeat(2_000_000).slice(0, 20_000_000));
    });

    await t.step("a terminal: its size, its name, its end", async () => {
      const { stdout } = await ssh.run("ssh", ["-tt", HOST, "tty; echo $TERM; stty size"]);
      match(stdout, /\/dev\/pts\/\d+\r\n\w+/);
      match((await ssh.run("ssh", ["-tt", HOST], "echo in a shell; exit 4\n")).stdout, /in a shell/);
    });

    await t.step("nobody without the key, nor with another; no agent, no display", async () => {
      const stranger = `${ssh.directory}/stranger`;
      await run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", stranger]);
      const options = ssh.options.map((option) =>
        option.startsWith("IdentityFile=") ? `IdentityFile=${stranger}` : option
      );
      const other = await run("ssh", [...options, HOST, "true"]);
      equal(other.code, 255);
      match(other.stderr, /Permission denied \(publickey\)/);
      equal((await ssh.run("ssh", ["-A", "-X", HOST, 'echo "$SSH_AUTH_SOCK$DISPLAY"'])).stdout, "\n");
    });

    await t.step("another user's commands and files are that user's", async () => {
      const options = ssh.options.map((option) => option === "User=root" ? "User=nobody" : option);
      equal((await run("ssh", [...options, HOST, "id -un"])).stdout, "nobody\n");
      const batch =
        `-put ${ssh.directory}/id /root/stolen\n-ls /root\nput ${ssh.directory}/known_hosts /tmp/banger-nobody\n`;
      const { stderr } = await run("sftp", ["-q", "-b", "-", ...options, HOST], batch);
      match(stderr, /dest open "\/root\/stolen": Permission denied/);
      equal((await run("stat", ["-c", "%U", "/tmp/banger-nobody"])).stdout, "nobody\n");
      await Deno.remove("/tmp/banger-nobody");
    });

    await t.step("ports and sockets are forwarded, half-closes kept", async () => {
      using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const serving = (async () => {
        const connection = await listener.accept();
        const text = await new Response(connection.readable).text();
        return text;
      })();
      const { port } = listener.addr as Deno.NetAddr;
      await ssh.run("ssh", ["-W", `127.0.0.1:${port}`, HOST], "through the tunnel");
      equal(await serving, "through the tunnel");
      listener.close();
      notEqual((await ssh.run("ssh", ["-W", `127.0.0.1:${port}`, HOST])).code, 0);
    });

    await t.step("what a command leaves in the background goes on when the client goes", async () => {
      const file = `${ssh.directory}/background`;
      const left = await ssh_(`sh -c 'sleep 0.5; echo late >${file}' >/dev/null 2>&1 & echo left`);
      equal(left.stdout, "left\n");
      const client = new Deno.Command("ssh", {
        args: [...ssh.options, HOST, `sh -c 'sleep 1; echo later >>${file}' & echo begun; cat`],
        stdin: "piped",
        stdout: "piped",
      }).spawn();
      const reader = client.stdout.getReader();
      await reader.read();
      client.kill("SIGKILL");
      await Promise.all([client.status, reader.cancel(), client.stdin.close().catch(() => {})]); // it has ended
      for (const deadline = performance.now() + 20_000; performance.now() < deadline;) {
        if (await Deno.readTextFile(file).catch(() => "") === "late\nlater\n") break;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      equal(await Deno.readTextFile(file), "late\nlater\n");
    });

    await t.step("many channels on one connection", async () => {
      const control = [
        "-o",
        `ControlPath=${ssh.directory}/control`,
        "-o",
        "ControlMaster=auto",
        "-o",
        "ControlPersist=20",
      ];
      await ssh.run("ssh", [...control, HOST, "true"]);
      const results = await Promise.all(
        Array.from(
          { length: 8 },
          (_, i) => ssh.run("ssh", [...control, HOST, `sleep 0.1; echo ${i}; exit ${i}`]),
        ),
      );
      deepEqual(results.map(({ code, stdout }) => [code, stdout]), results.map((_, i) => [i, `${i}\n`]));
      await ssh.run("ssh", [...control, "-O", "exit", HOST]);
    });
  });
});

Deno.test("the agent's sftp, judged by OpenSSH's sftp and scp and by rsync", async (t) => {
  await withSshServer(async (ssh) => {
    const here = `${ssh.directory}/here`;
    const there = `${ssh.directory}/there`;
    await Deno.mkdir(`${here}/deep/er`, { recursive: true });
    await Deno.mkdir(there);
    await Deno.writeFile(`${here}/big`, random(5_000_000));
    await Deno.writeTextFile(`${here}/deep/er/ünïcode name`, "text");
    await Deno.writeTextFile(`${here}/-rf; echo`, "dash");
    await Deno.writeTextFile(`${here}/run`, "#!/bin/sh\n");
    await Deno.chmod(`${here}/run`, 0o751);
    // Two names that no UTF-8 text tells apart, and a line break.
    await run("sh", [
      "-c",
      `cd ${here}; printf 1 >"$(printf 'a\\377')"; printf 2 >"$(printf 'a\\376')"; touch 'two
lines'; ln -s ../nowhere dangling; touch -d @1000000000 run`,
    ]);
    const same = async (other: string) =>
      equal((await run("diff", ["-r", "--no-dereference", here, other])).stdout, "");

    await t.step("scp -r there and back: names of any bytes, modes, times", async () => {
      await run("rm", [`${here}/dangling`]);
      const up = await ssh.run("scp", ["-q", "-p", "-r", here, `${HOST}:${there}/scp`]);
      equal(up.stderr, "");
      await same(`${there}/scp`);
      const back = await ssh.run("scp", ["-q", "-p", "-r", `${HOST}:${there}/scp`, `${there}/back`]);
      equal(back.stderr, "");
      await same(`${there}/back`);
      equal((await run("stat", ["-c", "%a %Y", `${there}/back/run`])).stdout, "751 1000000000\n");
      equal((await ssh.run("scp", ["-q", `${HOST}:/nowhere/x`, there])).code, 1);
    });

    await t.step("sftp: each of its commands", async () => {
      const dir = `${there}/sftp`;
      const batch = [
        `mkdir ${dir}`,
        `cd ${dir}`,
        `put ${here}/big one`,
        "chmod 640 one",
        "ln -s one soft",
        "ln one hard",
        "rename one two",
        `get two ${there}/got`,
        "ls -la",
        "df",
        "pwd",
        "mkdir empty",
        "rmdir empty",
        `put ${here}/run three`,
        "rm three",
        "-rename -l soft hard",
        "-mkdir two",
        `-reput ${here}/big two`,
        "ls -l",
      ].join("\n");
      const { code, stdout } = await run("sftp", ["-q", "-b", "-", ...ssh.options, HOST], `${batch}\n`);
      equal(code, 0, stdout);
      match(stdout, /-rw-r----- +2 0 +0 +5000000 .* hard/);
      match(stdout, /lrwxrwxrwx .* soft/);
      ok(stdout.includes(`Remote working directory: ${dir}`));
      equal((await run("cmp", [`${here}/big`, `${there}/got`])).code, 0);
      equal((await run("readlink", [`${dir}/soft`])).stdout, "one\n");
      deepEqual([...Deno.readDirSync(dir)].map(({ name }) => name).sort(), ["hard", "soft", "two"]);
    });

    await t.step("a directory of 3000 files is listed, a FIFO does not hang", async () => {
      const dir = `${there}/many`;
      await run("sh", ["-c", `mkdir ${dir}; cd ${dir}; touch $(seq 3000); mkfifo pipe`]);
      const { stdout } = await run(
        "sftp",
        ["-q", "-b", "-", ...ssh.options, HOST],
        `ls -1 ${dir}\n-put ${here}/run ${dir}/pipe\n`,
      );
      equal(stdout.split("\n").filter((line) => line.startsWith(dir)).length, 3001);
    });

    await t.step("rsync there, and only changes again", async () => {
      const shell = ["ssh", ...ssh.options].join(" ");
      const sync = () => run("rsync", ["-a", "--stats", "-e", shell, `${here}/`, `${HOST}:${there}/rsync/`]);
      const first = await sync();
      equal(first.code, 0, first.stderr);
      await same(`${there}/rsync`);
      match((await sync()).stdout, /Number of regular files transferred: 0/);
    });
  });
});
