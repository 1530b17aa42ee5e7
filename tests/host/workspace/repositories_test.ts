/** Ten differing repositories: inside they are what they are outside, and what is done inside comes back whole. */
import assert from "node:assert/strict";
import { testCases } from "./cases.ts";
import { type Bench, git, listTree, makeBench, shell, VM } from "./bench.ts";

interface Case {
  readonly init?: readonly string[];
  /** bash, in the new repository. */
  readonly make: string;
  readonly full?: boolean;
}

const CASES: Readonly<Record<string, Case>> = {
  "a few files and commits, all committed": {
    make: `for i in $(seq 14); do echo $i >file$i; git add .; git commit -qm "commit $i"; done`,
  },
  "changes staged, not staged, both; files gone, renamed, new": {
    make: `for i in a b c d e f; do echo $i >$i; done; git add .; git commit -qm one
      echo staged >>a; git add a; echo both >>a; echo plain >>b; rm c; git rm -q d; git mv e moved
      echo new >new; mkdir -p deep/er; echo x >deep/er/est; git add -N new`,
  },
  "modes and symlinks, some broken or changed to files": {
    make: `echo '#!/bin/sh' >run; chmod +x run; ln -s run link; ln -s /nowhere broken; echo f >f; git add .
      git commit -qm one; rm link; echo now-a-file >link; rm f; ln -s run f; chmod -x run; ln -s "a b" "sp ace"`,
  },
  "ignored files stay outside, also by info/exclude": {
    make: `printf '*.log\\n/build/\\n' >.gitignore; echo keep >keep.log; git add -f keep.log .gitignore
      git commit -qm one; mkdir build; echo o >build/o; echo l >x.log; echo mine >mine; echo mine >>.git/info/exclude`,
  },
  "before the first commit, with staged and untracked files": {
    make: `echo a >a; echo b >b; git add a; echo more >>a`,
  },
  "a detached HEAD behind merges and tags": {
    make: `for i in 1 2 3 4; do echo $i >f; git add f; git commit -qm c$i; done
      git checkout -qb side HEAD~2; echo s >s; git add s; git commit -qm side; git tag -a v1 -m v1
      git checkout -q main; git merge -q --no-edit side; git tag light; git checkout -q --detach HEAD~0; echo x >>f`,
  },
  "in the middle of a merge with conflicts": {
    make: `printf '1\\n2\\n3\\n' >f; echo g >g; git add .; git commit -qm base; git checkout -qb other
      printf '1\\nother\\n3\\n' >f; git rm -q g; git commit -qam other; git checkout -q main
      printf '1\\nmain\\n3\\n' >f; echo gg >g; git commit -qam main; ! git merge -q other 2>/dev/null >&2`,
  },
  "names with every kind of byte": {
    make:
      `printf a >$'line\\nbreak'; printf b >$'inv\\xff\\xfealid'; printf c >./-dash; printf d >$'tab\\t"quote\\\\'
      printf e >'*?['; printf f >ünïcödé; mkdir 'sp ace'; printf g >'sp ace/ in'; printf h >CASE; printf i >case
      n=$(printf 'n%.0s' $(seq 200)); mkdir -p $n/$n; printf j >$n/$n/$n; ln -s $n/$n/$n long; printf k >:colon
      git add .; git commit -qm names; printf 2 >>$'inv\\xff\\xfealid'; printf u >$'un\\nt\\xffracked'`,
  },
  "lines that end in CR LF, converted by git": {
    make:
      `git config core.autocrlf input; printf '*.txt text\\n*.bin -text\\n*.dos text eol=crlf\\n' >.gitattributes
      printf 'a\\nb\\n' >a.txt; printf 'x\\r\\ny\\r\\n' >b.bin; printf 'p\\r\\nq\\r\\n' >c.dos; git add . 2>/dev/null
      git commit -qm one; printf 'r\\r\\n' >>c.dos`,
  },
  "objects by SHA-256": {
    init: ["--object-format=sha256"],
    make: `echo a >a; git add .; git commit -qm one; echo b >>a; git commit -qam two; echo c >c`,
  },
  "linked work tree with a sparse checkout of a shallow clone": {
    make:
      `for i in $(seq 12); do mkdir -p in out; echo $i >in/f; echo $i >out/f; git add .; git commit -qm c$i; done
      git clone -q --depth 5 "file://$PWD" ../clone; cd ../clone; git worktree add -q ../linked -b linked
      cd ../linked; git config user.name n; git config user.email e@x; git sparse-checkout set in 2>/dev/null
      echo more >>in/f; cd ..; mv outside origin; git -C clone worktree move ../linked ../outside`,
  },
  "alternates and packed objects with deltas": {
    make: `seq 2000 >big; git add .; git commit -qm one; seq 1999 >big; git commit -qam two; git repack -qad
      git clone -q -s . ../clone; mv ../clone ../c; cd ..; mv outside source; mv c outside
      sed -i "s|/outside/|/source/|" outside/.git/objects/info/alternates
      cd outside; git config user.name n; git config user.email e@x; seq 2001 >>big; git commit -qam three; echo x >>big`,
  },
  "submodules, with the whole history": {
    full: true,
    make:
      `git init -q -b main ../lib; (cd ../lib; git config user.name n; git config user.email e@x; echo l >l
      git add .; git commit -qm l; echo l2 >>l; git commit -qam l2)
      git -c protocol.file.allow=always submodule --quiet add ../lib vendor/lib; git commit -qm sub
      echo change >>vendor/lib/l`,
  },
};

/** Edits of every kind that a patch must carry. */
const EDITS =
  `echo inside >inside.txt; printf '\\0\\1\\2binary\\xff' >binary.dat; mkdir -p fresh/dir; echo d >fresh/dir/f
  head -c 100000 /dev/urandom >random; ln -s inside.txt inside-link; echo '#!/bin/sh' >tool; chmod +x tool
  printf n >$'in\\nside\\xff'
  f=$(git ls-files | grep -v '"' | grep -v gitattributes | head -1); [ ! -f "$f" ] || echo appended >>"$f"`;

testCases("inside equals outside, and edits come back", CASES, async ({ make, init, full }) => {
  await using bench = await makeBench(init ? { init } : {});
  await shell(bench.repository, make);
  await bench.send({ full: full === true });
  await assertSame(bench);

  await shell(bench.inside, EDITS);
  const tree = await listTree(bench.inside);
  const review = await bench.workspaces.review(VM, bench.start);
  await using _work = review.work;
  assert.equal(review.isSafe, false);
  // The archive that it came as is gone.
  const home = [...Deno.readDirSync(`${bench.inside}/..`)].map(({ name }) => name);
  assert.deepEqual(home.filter((name) => name.endsWith(".tar")), []);
  const patch = `${bench.directory}/work.patch`;
  await bench.workspaces.writePatch(review, patch);
  await shell(bench.repository, `git apply --whitespace=nowarn ${patch}`);
  assert.deepEqual(withoutIgnored(await listTree(bench.repository)), withoutIgnored(tree));
});

async function assertSame({ repository, inside }: Bench): Promise<void> {
  const status = (of: string) => git(of, "status", "--porcelain", "-z");
  assert.equal(await status(inside), await status(repository));
  const log = async (of: string) =>
    (await shell(of, "git log -10 --format='%H %T %an %ae %s' 2>/dev/null || echo none")).split("\n");
  assert.deepEqual(await log(inside), await log(repository));
  assert.deepEqual(
    withoutIgnored(await listTree(inside)),
    withoutIgnored(await listTree(repository)),
  );
  const head = (of: string) => shell(of, "git symbolic-ref HEAD || git rev-parse HEAD");
  assert.equal(await head(inside), await head(repository));
  assert.equal(await git(inside, "config", "user.name"), await git(repository, "config", "user.name"));
}

/** Of the fourth case. */
function withoutIgnored(tree: readonly string[]): string[] {
  return tree.filter((line) => !/^\.\/(build\/o|x\.log|mine) /.test(line));
}
