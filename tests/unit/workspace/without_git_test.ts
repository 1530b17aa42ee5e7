import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { realHost } from "../../../lib/sys/host.ts";
import type { HostGit } from "../../../lib/workspace/git.ts";
import { findRepository } from "../../../lib/workspace/repository.ts";

const missing = () => Promise.reject(new BangerError("missing_tool", "Cannot run git: it is not installed"));
const git = { run: missing, read: missing, stream: missing } as unknown as HostGit;

Deno.test("without git a directory is no repository, and a repository says what to install", async () => {
  const path = await Deno.makeTempDir({ prefix: "banger-no-git-" });
  const { files } = realHost();
  try {
    assert.equal(await findRepository({ git, files }, path), undefined);
    await Deno.mkdir(`${path}/.git`);
    await assert.rejects(
      findRepository({ git, files }, path),
      (thrown) =>
        thrown instanceof BangerError && thrown.code === "missing_tool" &&
        /--no-repo/.test(thrown.hint ?? "") && /git is not installed/.test(thrown.message),
    );
  } finally {
    await Deno.remove(path, { recursive: true });
  }
});
