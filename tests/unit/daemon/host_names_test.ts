import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import type { Host } from "../../../lib/base/host.ts";
import { HostNames } from "../../../lib/daemon/host_names.ts";
import { installPlan, type NameRecord } from "../../../lib/net/dns/host_setup.ts";

const SERVER = { address: "127.0.0.1", port: 42069 };
const OWNER = "/home/me/.local/state/banger";
const LINK = "/sys/class/net/banger-dns";

/** Files by their paths, links that are held, and what `tee` writes. */
class FakeHost {
  readonly texts = new Map<string, string>();
  readonly held: string[] = [];
  holdFailure: BangerError | undefined;

  readonly host = {
    log: () => {},
    clock: {
      sleep: (_ms: number, signal?: AbortSignal) =>
        new Promise<void>((_, reject) => {
          signal?.addEventListener("abort", () => reject(signal.reason));
          if (signal?.aborted) reject(signal.reason);
        }),
    },
    files: {
      readText: (path: string) => {
        const text = this.texts.get(path);
        return text === undefined
          ? Promise.reject(new BangerError("not_found", `Cannot read ${path}`))
          : Promise.resolve(text);
      },
    },
    processes: {
      run: ({ program, args }: { program: string; args: string[] }, { stdin }: { stdin: Uint8Array }) => {
        assert.deepEqual([program, args], ["tee", ["/etc/hosts"]]);
        this.texts.set("/etc/hosts", new TextDecoder().decode(stdin));
        return Promise.resolve({ code: 0, stdout: "", stderr: "" });
      },
    },
    network: {
      holdLink: (name: string) => {
        if (this.holdFailure) return Promise.reject(this.holdFailure);
        this.held.push(name);
        return Promise.resolve({ [Symbol.dispose]: () => void this.held.pop() });
      },
    },
  } as unknown as Host;

  link(index: number, port = SERVER.port): void {
    this.texts.set(`${LINK}/ifindex`, `${index}\n`);
    this.texts.set(`${LINK}/ifalias`, `banger:127.0.0.1:${port}\n`);
  }
}

function names(fake: FakeHost, options: { uid?: number; isServing?: () => boolean; records?: NameRecord[] }) {
  const { uid = 1000, isServing = () => true, records = [] } = options;
  return new HostNames(fake.host, { ...SERVER, owner: OWNER, uid, isServing, records: () => records });
}

Deno.test("the link of systemd-resolved is held while the name server serves, and let go at the end", async () => {
  const fake = new FakeHost();
  let isServing = true;
  const onHost = names(fake, { isServing: () => isServing });
  const stop = new AbortController();
  const running = onHost.run(stop.signal);
  await onHost.refresh();
  assert.deepEqual(fake.held, [], "nobody installed it");
  fake.link(7);
  await onHost.refresh();
  await onHost.refresh();
  assert.deepEqual(fake.held, ["banger-dns"]);
  isServing = false;
  await onHost.refresh();
  assert.deepEqual(fake.held, [], "nobody is led to a server that is not there");
  isServing = true;
  await onHost.refresh();
  fake.texts.clear();
  await onHost.refresh();
  assert.deepEqual(fake.held, [], "uninstalled");
  fake.link(8);
  await onHost.refresh();
  fake.link(9);
  await onHost.refresh();
  assert.deepEqual(fake.held, ["banger-dns"], "installed anew: the new link");
  stop.abort();
  await running;
  assert.deepEqual(fake.held, []);
});

Deno.test("a link that is another's, or leads elsewhere, is told and left alone", async () => {
  const fake = new FakeHost();
  const onHost = names(fake, {});
  fake.link(7, 5353);
  await onHost.refresh();
  assert.match(onHost.linkProblem ?? "", /leads to another name server; .*banger dns install/);
  fake.link(7);
  fake.holdFailure = new BangerError(
    "permission_denied",
    "Cannot hold the link: it was made for another user",
  );
  await onHost.refresh();
  assert.match(onHost.linkProblem ?? "", /made for another user/);
  fake.holdFailure = undefined;
  await onHost.refresh();
  assert.equal(onHost.linkProblem, undefined);
  assert.deepEqual(fake.held, ["banger-dns"]);
});

Deno.test("root's daemon keeps its block in the hosts file, and nobody else's", async () => {
  const hostsText = "127.0.0.1 localhost\n";
  const records = [{ name: "web.vm", address: "127.42.0.1" }];
  const block = (owner: string) =>
    installPlan("hosts-file", { ...SERVER, owner, records: [], uid: 0, hostsText })[0]!.stdin!;
  for (
    const [uid, text, follows] of [
      [0, block(OWNER), true],
      [1000, block(OWNER), false],
      [0, block("/root/.local/state/banger"), false],
      [0, hostsText, false],
    ] as const
  ) {
    const fake = new FakeHost();
    fake.texts.set("/etc/hosts", text);
    const onHost = names(fake, { uid, records });
    await onHost.refresh();
    const now = fake.texts.get("/etc/hosts")!;
    assert.equal(now !== text && now.includes("127.42.0.1 web.vm\n"), follows, `${uid} ${text}`);
    records.push({ name: "db.vm", address: "127.42.0.2" });
    await onHost.refresh();
    assert.equal(fake.texts.get("/etc/hosts"), now, "nothing was told to be changed");
    onHost.changed();
    await onHost.refresh();
    assert.equal(fake.texts.get("/etc/hosts")!.includes("127.42.0.2 db.vm\n"), follows);
    records.pop();
  }
});
