import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { type ConfigFile, configSchema } from "../../../lib/config/schema.ts";
import { vmSettings } from "../../../lib/daemon/vmm_settings.ts";

function config(document: object): ConfigFile {
  return configSchema.parse(document);
}

Deno.test("vmSettings() resolves homes on both sides, and gives the guest's its host's name", () => {
  const document = {
    file_sync: [{ host: "~/.vimrc" }, { host: "/etc/tool", guest: "~/tool" }, {
      host: "~/a",
      guest: "/opt/a",
    }],
    disks: { reserve: "1G" },
  };
  assert.deepEqual(vmSettings(config(document), "/home/ann"), {
    reserveBytes: 1024 ** 3,
    fileSync: [
      { hostPath: "/home/ann/.vimrc", guestPath: "/root/.vimrc" },
      { hostPath: "/etc/tool", guestPath: "/root/tool" },
      { hostPath: "/home/ann/a", guestPath: "/opt/a" },
    ],
  });
});

Deno.test("vmSettings() syncs credentials of the tools that are named, and of no others", () => {
  assert.deepEqual(vmSettings(config({}), "/home/ann").fileSync, []);
  const { fileSync } = vmSettings(config({ agents: { credentials: ["codex"] } }), "/home/ann");
  assert.deepEqual(fileSync, [
    { hostPath: "/home/ann/.codex/auth.json", guestPath: "/root/.codex/auth.json", isOptional: true },
  ]);
});

Deno.test("vmSettings() without a home refuses paths that need one", () => {
  assert.throws(
    () => vmSettings(config({ file_sync: [{ host: "~/x" }] }), undefined),
    (thrown) => thrown instanceof BangerError && thrown.code === "invalid_argument",
  );
});

for (
  const [what, document] of [
    ["a host path that is relative", { file_sync: [{ host: "x", guest: "/x" }] }],
    ["a guest path that is the root", { file_sync: [{ host: "/x", guest: "/" }] }],
    ["a guest path that is the home itself", { file_sync: [{ host: "/x", guest: "~/." }] }],
    ["a guest path with ..", { file_sync: [{ host: "/x", guest: "/root/../etc/passwd" }] }],
    ["no guest path where the host's does not tell it", { file_sync: [{ host: "/x" }] }],
    ["an unknown tool", { agents: { credentials: ["nobody"] } }],
    ["a reserve that is no size", { disks: { reserve: "much" } }],
  ] as const
) {
  Deno.test(`the configuration refuses ${what}`, () => {
    assert.equal(configSchema.safeParse(document).success, false);
  });
}
