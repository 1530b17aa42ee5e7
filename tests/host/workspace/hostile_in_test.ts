/** Repositories that want something: nothing of theirs runs here, and nothing beside them reaches the guest. */
import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { type Bench, makeBench, shell } from "./bench.ts";
import { testCases } from "./cases.ts";

interface Case {
  /** bash in the new repository. $canary is a program that leaves a mark, $private a directory with a secret. */
  readonly make: string;
  readonly full?: boolean;
  readonly path?: string;
  /** The refusal's code, where there must be one. */
  readonly refused?: string;
  /** bash in the guest's checkout: must succeed. */
  readonly inside?: string;
}

const ONE = "echo f >f; echo g >g; git add .; git commit -qm one;";

const CASES: Readonly<Record<string, Case>> = {
  "core.fsmonitor is a program": { make: `${ONE} git config core.fsmonitor $canary; echo x >>f; echo n >n` },
  "hooks, in their directory and elsewhere": {
    make: `${ONE} for h in post-checkout reference-transaction post-index-change pre-auto-gc; do
      cp $canary .git/hooks/$h; done; mkdir h; cp .git/hooks/[a-z]*[a-z] h; git config core.hooksPath $PWD/h`,
  },
  "filters for every file": {
    make: `${ONE} echo '* filter=x diff=x merge=x' >.gitattributes; git add .; git commit -qm a
      for k in filter.x.clean filter.x.smudge filter.x.process diff.x.command diff.x.textconv merge.x.driver diff.external
      do git config $k $canary; done; git config filter.x.required true; echo dirty >>f`,
    inside: "grep -q dirty f",
  },
  "programs by other names": {
    make:
      `${ONE} for k in core.pager core.editor core.sshCommand core.gitProxy core.askPass credential.helper gpg.program \\
      core.alternateRefsCommand uploadpack.packObjectsHook sequence.editor
      do git config $k $canary; done; git config log.showSignature true; git config alias.ls-files "!$canary"`,
  },
  "the configuration includes one with programs": {
    make:
      `${ONE} printf '[core]\\n\\tfsmonitor = %s\\n\\thooksPath = /\\n' $canary >evil; git config include.path ../evil`,
  },
  "a partial clone whose remote is a program": {
    make: `${ONE} b=$(git rev-parse HEAD:g); git config extensions.partialClone origin
      git config remote.origin.url file://$private; git config remote.origin.promisor true
      git config remote.origin.uploadpack $canary; rm .git/objects/\${b:0:2}/\${b:2}`,
  },
  "origin is a program": {
    make: `${ONE} git config remote.origin.url "ext::sh -c $canary"; git config remote.origin.vcs $canary`,
    inside: `git config remote.origin.url | grep -q ext`,
  },
  "origin has a password": {
    make: `${ONE} git config remote.origin.url https://user:hunter2@example.org/r.git`,
    inside: `test "$(git config remote.origin.url)" = https://example.org/r.git; ! grep -r hunter2 .git`,
  },
  "core.worktree leads elsewhere": {
    make: `${ONE} git config core.worktree $private`,
    refused: "wrong_state",
  },
  "core.worktree leads to the parent": {
    make: `${ONE} git config core.worktree ../..`,
    refused: "wrong_state",
  },
  "core.excludesFile is somebody's file": {
    make:
      `${ONE} git config core.excludesFile $private/secret; git config core.attributesFile $private/secret`,
  },
  "info/exclude is a link to somebody's file": { make: `${ONE} ln -sf $private/secret .git/info/exclude` },
  "MERGE_MSG and HEAD's log are links": { make: `${ONE} ln -s $private/secret .git/MERGE_MSG` },
  "a tracked directory became a link out": {
    make: `mkdir d; echo d >d/secret; ${ONE} rm -r d; ln -s $private d`,
    inside: `test -L d; git status --porcelain | grep -q 'D d/secret'`,
  },
  "a tracked file became a link out": {
    make: `${ONE} rm f; ln -s $private/secret f`,
    inside: `test "$(readlink f)" != "" && test ! -e f -o -L f`,
  },
  "an untracked directory is a link out": { make: `${ONE} ln -s $private u`, inside: "test -L u" },
  "a link to itself": { make: `${ONE} ln -s loop loop`, inside: "test -L loop" },
  "an untracked repository": {
    make: `${ONE} git init -q nested; cp $canary nested/.git/hooks/post-checkout; echo n >nested/n`,
    inside: "test ! -e nested",
  },
  "an untracked .git file that names somebody's repository": {
    make: `${ONE} mkdir n; echo "gitdir: $private/.git" >n/.git; echo x >n/x`,
  },
  "a submodule that is somebody's repository": {
    full: true,
    make: `${ONE} mkdir sub; echo "gitdir: $private/.git" >sub/.git
      git update-index --add --cacheinfo 160000,$(git rev-parse HEAD),sub; git commit -qm sub`,
    inside: "test ! -e sub/.git",
  },
  "a submodule that is a link out": {
    full: true,
    make: `${ONE} ln -s $private sub; git update-index --add --cacheinfo 160000,$(git rev-parse HEAD),sub
      git commit -qm sub`,
    inside: "test ! -e sub/secret",
  },
  "submodules without the whole history": {
    make: `${ONE} git update-index --add --cacheinfo 160000,$(git rev-parse HEAD),sub; git commit -qm sub`,
    refused: "wrong_state",
  },
  "pipes and sockets": {
    make:
      `${ONE} mkfifo pipe; rm g; mkfifo g; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("s")'`,
    inside: "test ! -e pipe; test ! -e g; test ! -e s",
  },
  "secrets by their names": {
    make: `${ONE} echo SECRET >.env; echo SECRET >id_rsa; mkdir .aws; echo SECRET >.aws/credentials
      echo SECRET >x.pem; echo A=b >.env.example`,
    inside: "test -e .env.example; ! grep -r SECRET .",
  },
  "names that begin with dashes, colons and exclamation marks": {
    make:
      `${ONE} touch -- --help -rf ':(top)x' '!n' '#h' ' ' '~' '$(touch x)' '\`x\`' '*'; git add -A .; git commit -qm n
      echo c >'--checkpoint-action=exec=sh'; echo c >--to-command=sh`,
    inside:
      `test -e ./--help; test -e ./--to-command=sh; test -z "$(git status --porcelain | grep -v '^??')"`,
  },
  "names with escapes and line breaks that look like lists": {
    make: `printf x >$'a\\n100644 0000 0\\tb'; printf y >$'\\e]0;title\\a'; printf z >$'c\\r'; ${ONE}`,
  },
  "case clashes": {
    make: `echo 1 >README; echo 2 >readme; mkdir Dir dir; echo 3 >Dir/x; echo 4 >dir/x; ${ONE}`,
  },
  "a path as long as they get": {
    make: `p=$(printf 'x%.0s' $(seq 250)); d=$p; for i in $(seq 10); do d=$d/$p; done
      mkdir -p $d; echo deep >$d/f; git add . 2>/dev/null; ${ONE}`,
  },
  "large-file pointers and a large-file filter": {
    make: `echo '*.bin filter=lfs diff=lfs merge=lfs -text' >.gitattributes; 
      printf 'version https://git-lfs.github.com/spec/v1\\noid sha256:%064d\\nsize 3\\n' 0 >a.bin; ${ONE}
      git config filter.lfs.required true
      for k in clean smudge process; do git config filter.lfs.$k $canary; done; touch a.bin`,
    inside: "head -1 a.bin | grep -q git-lfs",
  },
  "a rebase that stopped": {
    make: `${ONE} echo 2 >f; git commit -qam two; echo 3 >f; git commit -qam three
      GIT_SEQUENCE_EDITOR="sed -i 's/^pick/edit/'" git rebase -q -i HEAD~2 2>/dev/null`,
  },
  "tags of blobs and trees, refs with odd names": {
    make: `${ONE} git tag blob HEAD:f; git tag -a -m m tree HEAD^{tree}; git update-ref 'refs/heads/a"b' HEAD
      git update-ref refs/tags/ünï HEAD; git update-ref 'refs/heads/-x' HEAD`,
  },
  "an identity that would break a configuration file": {
    make: `${ONE} git config user.name $'x"\\n[core]\\n\\tfsmonitor = evil\\\\'`,
    inside: 'test -z "$(git config core.fsmonitor)"',
  },
  "a branch that would": {
    make: `${ONE} git checkout -q -b 'b"]q'; git config 'branch.b"]q.remote' origin
      git config 'branch.b"]q.merge' refs/heads/x; git config remote.origin.url /x`,
    inside: `test "$(git branch --show-current)" = 'b"]q'`,
  },
  "an index that is not one": { make: `${ONE} echo garbage >.git/index`, refused: "source_unavailable" },
  "an object that is damaged": {
    make:
      `${ONE} b=$(git rev-parse HEAD:f); chmod +w .git/objects/\${b:0:2}/*; echo >.git/objects/\${b:0:2}/\${b:2}`,
    refused: "source_unavailable",
  },
  "a .git that is garbage": { make: "rm -r .git; echo garbage >.git", refused: "source_unavailable" },
  "a bare repository": { make: `git init -q --bare ../bare`, path: "../bare", refused: "wrong_state" },
  "a path that is a file": { make: ONE, path: "f", refused: "not_found" },
  "a path that is not there": { make: ONE, path: "nowhere", refused: "not_found" },
  "HEAD names a branch that is not there": {
    make: `${ONE} git symbolic-ref HEAD refs/heads/nowhere`,
    inside: `test "$(git symbolic-ref HEAD)" = refs/heads/nowhere`,
  },
  "alternates into somebody's objects": {
    make: `${ONE} echo $private/.git/objects >.git/objects/info/alternates; echo x >>f`,
    inside: "test ! -e .git/objects/info/alternates",
  },
};

// deno-lint-ignore no-control-regex
const CONTROLS = /[\u0000-\u001f\u007f]/;
const CANARY = `#!/bin/sh\ntouch "$(dirname "$0")/RAN"\nexit 1\n`;

testCases("a hostile repository is sent without harm, or refused", CASES, async (given) => {
  await using bench = await makeBench();
  const outside = `${bench.directory}/private`;
  await Deno.mkdir(outside);
  await Deno.writeTextFile(`${bench.directory}/canary.sh`, CANARY, { mode: 0o755 });
  await shell(
    outside,
    "git init -q; git config user.name p; git config user.email p; echo PRIVATE >secret; git add .; git commit -qm PRIVATE",
  );
  await shell(
    bench.repository,
    `export canary=${bench.directory}/canary.sh private=${outside}\n${given.make}`,
  );
  await Deno.remove(`${bench.directory}/RAN`).catch(() => {});
  const path = new URL(`file://${bench.repository}/${given.path ?? ""}`).pathname.replace(/\/$/, "");
  const sending = bench.send({ full: given.full === true, path });
  if (given.refused === undefined) await sending;
  else {
    await assert.rejects(sending, (thrown) => {
      assert.ok(thrown instanceof BangerError, String(thrown));
      assert.equal(thrown.code, given.refused, thrown.message);
      assert.doesNotMatch(thrown.message, CONTROLS, "nothing in it reaches a terminal unquoted");
      return true;
    });
  }
  await assertHarmless(bench);
  if (given.inside !== undefined) await shell(bench.inside, given.inside);
});

async function assertHarmless({ directory }: Bench): Promise<void> {
  await assert.rejects(
    Deno.stat(`${directory}/RAN`),
    Deno.errors.NotFound,
    "a program of the repository ran",
  );
  const found = await new Deno.Command("grep", { args: ["-rlZ", "PRIVATE", `${directory}/guest`] }).output();
  assert.equal(new TextDecoder().decode(found.stdout), "", "something private reached the guest");
  // Objects are compressed: git must say what is in them.
  const objects = `find guest -type d -name .git -prune | while read -r d; do
      ! git --git-dir="$d" cat-file --batch-all-objects --batch | grep -qa PRIVATE
    done`;
  await shell(directory, objects);
  const leftovers: string[] = [];
  await Deno.mkdir(`${directory}/staging`, { recursive: true });
  for await (const { name } of Deno.readDir(`${directory}/staging`)) {
    if (name.startsWith(".staging-")) leftovers.push(name);
  }
  assert.deepEqual(leftovers, []);
}
