/** Guests that want something: what they answer is refused, or shown for what it is, and nothing lands unasked. */
import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { displayText } from "../../../lib/base/tree.ts";
import type { StartInGuest } from "../../../lib/workspace/guest.ts";
import { type Bench, git, listTree, makeBench, shell, VM } from "./bench.ts";
import { testCases } from "./cases.ts";

interface Case {
  /**
   * bash in a repository of the guest's that has what was sent: prints the tree to claim. $f is an ordinary
   * file's object, $l a symlink's to /etc/passwd, $d a tree's with a file x, $c a commit.
   */
  readonly tree: string;
  /** Where it must end: the pack is refused, or applying is; else it is applied. */
  readonly ends: "refused" | "not applied" | "applied";
  readonly risks?: readonly string[];
}

/** Entries of one tree, written byte by byte: no git would make most of them. */
const raw = (entries: string) =>
  `perl -e 'for (@ARGV) { my ($mode, $name, $oid) = split /;/; print "$mode $name\\0" . pack("H*", $oid) }' ${entries} |
    git hash-object -t tree -w --stdin --literally`;

const CASES: Readonly<Record<string, Case>> = {
  "a name that is ..": { tree: raw('"40000;..;$d"'), ends: "refused" },
  "a name that is .": { tree: raw('"40000;.;$d"'), ends: "refused" },
  "a name that is empty": { tree: raw('"100644;;$f"'), ends: "refused" },
  "a name with slashes": { tree: raw('"100644;../../x;$f"'), ends: "refused" },
  "an absolute name": { tree: raw('"100644;/tmp/x;$f"'), ends: "refused" },
  "a .git directory": { tree: raw('"40000;.git;$d"'), ends: "refused" },
  "a .git directory further down": {
    tree: `s=$(${raw('"40000;.git;$d"')}); ${raw('"40000;sub;$s"')}`,
    ends: "refused",
  },
  ".GIT": { tree: raw('"40000;.GIT;$d"'), ends: "refused" },
  "git~1": { tree: raw('"40000;git~1;$d"'), ends: "refused" },
  ".git with a character that some file systems ignore": {
    tree: `n=$(printf '.g\\xe2\\x80\\x8cit'); ${raw('"40000;$n;$d"')}`,
    ends: "refused",
  },
  "a .git file": { tree: raw('"100644;.git;$f"'), ends: "refused" },
  "one name twice: a symlink and the directory behind it": {
    tree: raw('"120000;d;$l" "40000;d;$d"'),
    ends: "refused",
  },
  "names out of order": { tree: raw('"100644;z;$f" "100644;a;$f"'), ends: "refused" },
  "a .gitmodules that is a symlink": { tree: raw('"120000;.gitmodules;$l"'), ends: "refused" },
  "a tree that is no tree": { tree: "echo $f", ends: "refused" },
  "a tree that does not exist": { tree: "printf 'a%.0s' $(seq 40)", ends: "refused" },
  "a commit of another repository": { tree: raw('"100644;f;$f" "160000;sub;$c"'), ends: "applied" },
  "an absolute symlink": {
    tree: raw('"120000;abs;$l" "100644;f;$f"'),
    ends: "applied",
    risks: ["leaves the tree"],
  },
  "a symlink to the directory above": {
    tree: `u=$(printf ../up | git hash-object -w --stdin); ${raw('"100644;f;$f" "120000;up;$u"')}`,
    ends: "applied",
    risks: ["leaves the tree"],
  },
  "a directory of the host's becomes a symlink out": {
    tree: `t=$(printf %s "$outside" | git hash-object -w --stdin); ${raw('"120000;dir;$t" "100644;f;$f"')}`,
    ends: "not applied",
    risks: ["leaves the tree"],
  },
  ".gitattributes with the user's filter": {
    tree: `a=$(echo '* filter=canary' | git hash-object -w --stdin); ${
      raw('"100644;.gitattributes;$a" "100644;f;$f"')
    }`,
    ends: "applied",
    risks: ["git settings"],
  },
  ".envrc, tasks, hooks and workflows": {
    tree: `v=$(${raw('"100644;tasks.json;$f"')}); h=$(${raw('"100755;pre-commit;$f"')})
      w=$(${raw('"100644;ci.yml;$f"')}); g=$(${raw('"40000;workflows;$w"')})
      ${raw('"100644;.envrc;$f" "40000;.github;$g" "40000;.husky;$h" "40000;.vscode;$v" "100644;f;$f"')}`,
    ends: "applied",
    risks: ["runs", "runs", "runs", "mode", "runs"],
  },
  "scripts of a package": {
    tree: `p=$(echo '{"scripts":{"postinstall":"sh evil"}}' | git hash-object -w --stdin)
      ${raw('"100644;f;$f" "100644;package.json;$p"')}`,
    ends: "applied",
    risks: ["runs"],
  },
  "keys and binaries": {
    tree: `k=$(printf -- '-----BEGIN OPENSSH PRIVATE KEY-----\\nx\\n' | git hash-object -w --stdin)
      b=$(printf '\\0\\1' | git hash-object -w --stdin); ${
      raw('"100644;b;$b" "100644;f;$f" "100644;k;$k" "100644;x.pem;$f"')
    }`,
    ends: "applied",
    risks: ["binary", "secret", "secret"],
  },
  "names with escapes, and a dash first": {
    tree: `n=$(printf '\\033]0_x\\a'); ${raw('"100644;$n;$f" "100644;--rm;$f" "100644;f;$f"')}`,
    ends: "applied",
    risks: ["name", "name"],
  },
  "names that differ by case only": {
    tree: raw('"100644;README;$f" "100644;f;$f" "100644;readme;$f"'),
    ends: "applied",
    risks: ["name"],
  },
  "a mode that git does not have": { tree: raw('"100777;f;$f"'), ends: "applied", risks: ["mode"] },
  "sixty directories deep": {
    tree: `t=$d; for i in $(seq 60); do t=$(${raw('"40000;d;$t"')}); done; echo $t`,
    ends: "applied",
  },
};

testCases("a guest's tree is refused, or shown and applied inside the tree only", CASES, async (given) => {
  await using bench = await sentBench();
  const answer = await answerOf(bench, given.tree);
  const before = await listTree(bench.directory);
  const reviewing = bench.workspaces.review(VM, answering(answer));
  if (given.ends === "refused") {
    await assertRefused(reviewing);
  } else {
    const review = await reviewing;
    await using _work = review.work;
    if (given.risks) assert.deepEqual(review.risks.map(({ kind }) => kind), given.risks);
    const landing = bench.workspaces.prepareLanding(review);
    if (given.ends === "not applied") await assertRefused(landing);
    else await (await landing).carryOut();
    if (given.ends === "applied") {
      const tree = await git(bench.repository, "ls-files", "--others", "--cached", "-z");
      for (const { path } of review.changes.filter(({ status, path }) => status !== "D" && path !== "sub")) {
        assert.ok(tree.includes(path), `${displayText(path)} is there`);
      }
    }
  }
  const beside = (tree: readonly string[]) =>
    tree.filter((line) => !/^(\$')?\.\/(outside|0123456789ab)\//.test(line));
  assert.deepEqual(beside(await listTree(bench.directory)), beside(before), "nothing was written elsewhere");
});

// deno-lint-ignore no-control-regex
const CONTROLS = /[\u0000-\u001f\u007f\u202e]/;
const OID = "a".repeat(40);

/** Answers that are no answer: bytes that the guest's side prints, and its exit code. */
const ANSWERS: Readonly<Record<string, readonly [text: string, code: number]>> = {
  "nothing": ["", 0],
  "only a header": [`tree ${OID}\nhead \nbranch \n\n`, 0],
  "a header that is none": ["tree ../../x\nhead \nbranch \n\nPACK", 0],
  "an id that is none": [`tree ${OID}aa\nhead \nbranch \n\nPACK`, 0],
  "a header without an end": ["x".repeat(3_000_000), 0],
  "something else than a pack": [`tree ${OID}\nhead \nbranch \n\n${"garbage".repeat(1000)}`, 0],
  "a pack that claims four thousand million objects": [
    `tree ${OID}\nhead \nbranch \n\nPACK\0\0\0\x02\xff\xff\xff\xff${"\0".repeat(100)}`,
    0,
  ],
  "a failure with escapes in its words": ["", 9],
  "the code for an absent repository": ["", 42],
  "the code for no git": ["", 44],
};

testCases("a guest's answer that is none is refused", ANSWERS, async ([text, code]) => {
  await using bench = await sentBench();
  const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
  await assertRefused(bench.workspaces.review(VM, answering(bytes, code)));
});

async function sentBench(): Promise<Bench> {
  const bench = await makeBench();
  await shell(
    bench.repository,
    `echo f >f; mkdir dir; echo x >dir/x; git add .; git commit -qm one; echo o >dir/x.o
    echo '*.o' >.git/info/exclude; printf '#!/bin/sh\\ntouch %s/RAN\\n' "$PWD/.." >../canary.sh; chmod +x ../canary.sh
    git config filter.canary.smudge $PWD/../canary.sh; git config filter.canary.clean $PWD/../canary.sh`,
  );
  await bench.send();
  return bench;
}

/** What the guest's script would print for this tree. */
async function answerOf(bench: Bench, tree: string): Promise<Uint8Array> {
  const script =
    `f=$(echo file | git hash-object -w --stdin); l=$(printf /etc/passwd | git hash-object -w --stdin)
    d=$(printf "100644 blob $f\\tx\\n" | git mktree); c=$(git rev-parse HEAD); export f l d c outside=${bench.directory}
    tree=$(${tree}); printf 'tree %s\\nhead %s\\nbranch refs/heads/main\\n\\n' $tree $c >../answer
    { git rev-list --objects $tree 2>/dev/null | cut -d' ' -f1; echo $tree; } | sort -u |
      git cat-file --batch-check='%(objectname) %(objecttype)' | awk '$2 != "missing" { print $1 }' |
      git pack-objects -q --stdout >>../answer || :`;
  await shell(bench.inside, script);
  return await Deno.readFile(`${bench.inside}/../answer`);
}

/** A guest that answers so whatever it is asked. */
function answering(bytes: Uint8Array, code = 0): StartInGuest {
  return () =>
    Promise.resolve({
      async finish(sink) {
        for (let at = 0; at < bytes.length; at += 1000) await sink.stdout(bytes.subarray(at, at + 1000));
        await sink.stderr(new TextEncoder().encode("\u001b]0;title\u0007fatal: \u202ebad"));
        return code;
      },
      writeStdin: () => Promise.resolve(),
      closeStdin: () => Promise.resolve(),
      [Symbol.dispose]() {},
    });
}

async function assertRefused(act: Promise<unknown>): Promise<void> {
  await assert.rejects(act, (thrown) => {
    assert.ok(thrown instanceof BangerError, String(thrown));
    assert.doesNotMatch(thrown.message, CONTROLS, "nothing in it reaches a terminal unquoted");
    return true;
  });
}
