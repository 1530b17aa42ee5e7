import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import {
  describeSteps,
  hostsBlock,
  hostsUpdate,
  installPlan,
  SETUP_KINDS,
  uninstallPlan,
} from "../../../lib/net/dns/host_setup.ts";

const HOSTS = "127.0.0.1 localhost\n::1 localhost\n";
const FACTS = {
  address: "127.0.0.1",
  port: 42069,
  records: [{ name: "web.vm", address: "127.42.0.1" }],
  hostsText: HOSTS,
  owner: "/home/me/.local/state/banger",
  uid: 1000,
};

Deno.test("systemd-resolved: a link of our own gets .vm, and nothing else, now and after each boot", () => {
  assert.equal(
    describeSteps(installPlan("systemd-resolved", FACTS)),
    `  tee /etc/systemd/system/banger-dns.service
    # Written by banger dns install: leads names of VMs to banger's name server.
    [Unit]
    Description=Names of banger's VMs for systemd-resolved
    Wants=systemd-resolved.service
    After=systemd-resolved.service

    [Service]
    Type=oneshot
    RemainAfterExit=yes
    ExecStartPre=-ip link delete banger-dns
    ExecStart=ip tuntap add dev banger-dns mode tun user 1000
    ExecStart=ip link set banger-dns alias banger:127.0.0.1:42069
    ExecStart=ip addr replace 198.18.42.69/32 dev banger-dns
    ExecStart=ip link set banger-dns up
    ExecStart=resolvectl dns banger-dns 127.0.0.1:42069
    ExecStart=resolvectl domain banger-dns ~vm ~69.10.in-addr.arpa
    ExecStart=resolvectl default-route banger-dns no
    ExecStart=resolvectl llmnr banger-dns no
    ExecStart=resolvectl mdns banger-dns no
    ExecStart=resolvectl dnssec banger-dns no
    ExecStart=resolvectl dnsovertls banger-dns no
    ExecStop=-ip link delete banger-dns

    [Install]
    WantedBy=multi-user.target
  systemctl daemon-reload
  systemctl enable banger-dns.service
  systemctl restart banger-dns.service`,
  );
  assert.equal(
    describeSteps(uninstallPlan("systemd-resolved", FACTS)),
    `  systemctl disable --now banger-dns.service
  rm -f /etc/systemd/system/banger-dns.service
  systemctl daemon-reload
  ip link delete banger-dns`,
  );
});

Deno.test("NetworkManager's dnsmasq: one file, and it is told", () => {
  const [write, reload] = installPlan("networkmanager-dnsmasq", FACTS);
  assert.deepEqual(write?.argv, ["tee", "/etc/NetworkManager/dnsmasq.d/banger.conf"]);
  assert.match(write?.stdin ?? "", /^server=\/vm\/127\.0\.0\.1#42069$/m);
  assert.deepEqual(reload?.argv, ["nmcli", "general", "reload", "dns-full"]);
});

Deno.test("/etc/hosts: a block is put, replaced and taken away, and the rest stays byte for byte", () => {
  const put = installPlan("hosts-file", FACTS)[0]!.stdin!;
  assert.match(put, /\n# banger begin[^\n]*\n# of \/home\/me[^\n]*\n127\.42\.0\.1 web\.vm\n# banger end\n$/);
  const again = installPlan("hosts-file", { ...FACTS, hostsText: put, records: [] })[0]!.stdin!;
  assert.doesNotMatch(again, /web/);
  assert.equal(again.match(/# banger begin/g)?.length, 1);
  assert.equal(uninstallPlan("hosts-file", { hostsText: put })[0]!.stdin, HOSTS);
  assert.deepEqual(uninstallPlan("hosts-file", { hostsText: HOSTS }), []);
  const added = installPlan("hosts-file", { ...FACTS, hostsText: "127.0.0.1 here" })[0]!.stdin!;
  assert.match(added, /^127\.0\.0\.1 here\n# banger begin/);
  const cut = put.replace("# banger end\n", "");
  assert.throws(() => installPlan("hosts-file", { ...FACTS, hostsText: cut }), BangerError);
});

Deno.test("/etc/hosts: the block follows the VMs of the banger whose it is", () => {
  const hostsText = installPlan("hosts-file", FACTS)[0]!.stdin!;
  assert.deepEqual(hostsBlock(hostsText), { owner: FACTS.owner, records: FACTS.records });
  const records = [{ name: "db.vm", address: "127.42.0.2" }];
  const [update, ...more] = hostsUpdate({ ...FACTS, hostsText, records });
  assert.deepEqual(more, []);
  assert.deepEqual(hostsBlock(update!.stdin!)?.records, records);
  assert.ok(update!.stdin!.startsWith(HOSTS));
  assert.deepEqual(hostsUpdate({ ...FACTS, hostsText }), [], "nothing changed");
  assert.deepEqual(hostsUpdate({ ...FACTS, hostsText: HOSTS }), [], "nobody asked for it");
  assert.deepEqual(hostsUpdate({ ...FACTS, hostsText, owner: "/root/other", records }), [], "another's");
  const cut = hostsText.replace("# banger end\n", "");
  assert.deepEqual(hostsUpdate({ ...FACTS, hostsText: cut, records }), []);
});

Deno.test("every setup is shown whole before it is done", () => {
  for (const kind of SETUP_KINDS) {
    const steps = installPlan(kind, FACTS);
    const text = describeSteps(steps);
    for (const { argv } of steps) assert.ok(text.includes(argv.slice(0, 2).join(" ")), text);
  }
  assert.match(describeSteps(installPlan("hosts-file", FACTS)), /what is there stays/);
});
