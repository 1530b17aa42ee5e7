/** What is done inside comes back: applied cleanly or not at all, as commits, and never lost unseen. */
import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import type { Review } from "../../../lib/workspace/review.ts";
import { testCases } from "./cases.ts";
import { type Bench, git, listTree, makeBench, sendHere, shell, VM } from "./bench.ts";

const START =
  `seq 20 >f; echo g >g; mkdir d; echo h >d/h; git add .; git commit -qm one; seq 21 >f; git commit -qam two`;

async function reviewed<T>(bench: Bench, act: (review: Review) => Promise<T>): Promise<T> {
  const review = await bench.workspaces.review(VM, bench.start);
  await using _work = review.work;
  return await act(review);
}

async function apply(bench: Bench): Promise<void> {
  await reviewed(bench, async (review) => await (await bench.workspaces.prepareLanding(review)).carryOut());
}

async function refusedWith(code: string, pattern: RegExp, act: () => Promise<unknown>): Promise<void> {
  await assert.rejects(act, (thrown) => {
    assert.ok(thrown instanceof BangerError, String(thrown));
    assert.equal(thrown.code, code, thrown.message);
    assert.match(thrown.message, pattern);
    return true;
  });
}

Deno.test("apply: edits inside reach a working tree that has gone on, index and commits stay the user's", async () => {
  await using bench = await makeBench({ comesAsStdin: true });
  await shell(bench.repository, `${START}; echo mine >>g; echo untracked >u; echo staged >s; git add s`);
  await bench.send();
  await shell(
    bench.inside,
    `sed -i 's/^5$/five/' f; rm d/h; echo new >new; ln -s f link; chmod +x g; git add f
    git -c user.name=x -c user.email=y commit -qm inside; printf '\\0bin' >bin; echo more >>u`,
  );
  await shell(bench.repository, `sed -i 's/^18$/eighteen/' f; echo later >later`);
  const indexBefore = await git(bench.repository, "diff", "--cached");
  const headBefore = await git(bench.repository, "rev-parse", "HEAD");
  await apply(bench);
  assert.equal(
    await shell(
      bench.repository,
      `sed -n '5p;18p' f; cat new u later; readlink link; test -x g; test ! -e d/h; cat g`,
    ),
    "five\neighteen\nnew\nuntracked\nmore\nlater\nf\ng\nmine\n",
  );
  assert.equal(await git(bench.repository, "diff", "--cached"), indexBefore);
  assert.equal(await git(bench.repository, "rev-parse", "HEAD"), headBefore);
  // Once more it changes nothing.
  const tree = await listTree(bench.repository);
  await apply(bench);
  assert.deepEqual(await listTree(bench.repository), tree);
});

const CONFLICTS: Readonly<Record<string, readonly [inside: string, outside: string]>> = {
  "both changed a line": [`sed -i 's/^5$/in/' f; echo ok >new`, `sed -i 's/^5$/out/' f`],
  "changed inside, gone outside": [`echo x >>f; echo ok >new`, `rm f`],
  "gone inside, changed outside": [`rm f; echo ok >new`, `echo x >>f`],
  "both made a file of that name": [`echo in >same; echo ok >new`, `echo out >same`],
  "made inside, ignored and there outside": [
    `echo in >x.log; echo ok >new`,
    `echo out >x.log; echo '*.log' >.git/info/exclude`,
  ],
  "a file inside where a directory came outside": [`echo in >z; echo ok >new`, `mkdir z; echo out >z/y`],
  "binary content on both sides": [`printf '\\0in' >g; echo ok >new`, `printf '\\0out' >g`],
};

testCases("apply refuses and leaves everything as it was", CONFLICTS, async ([inside, outside]) => {
  await using bench = await makeBench();
  await shell(bench.repository, START);
  await bench.send();
  await shell(bench.inside, inside);
  await shell(bench.repository, outside);
  const before = await listTree(bench.repository);
  await refusedWith("wrong_state", /Cannot apply the VM's work/, () => apply(bench));
  assert.deepEqual(await listTree(bench.repository), before);
});

/** As git leaves it where the disk fills up half-way: some files gone, one cut off, others new, the rest not begun. */
const HALF_WRITTEN = `rm f d/h d/e/k link; rmdir d/e d; printf cut >f; mkdir -p n/m; echo new >n/m/new; : >d
  echo 'fatal: unable to write file z: No space left on device' >&2; exit 128`;

Deno.test("apply: where writing fails half-way, all of it is taken back", async () => {
  await using bench = await makeBench({ insteadOfWriting: HALF_WRITTEN });
  await shell(
    bench.repository,
    `${START}; mkdir d/e; echo k >d/e/k; ln -s f link; chmod 640 f; echo z >z; git add .; git commit -qm three
    echo mine >>g; echo own >own; touch -d @1234567890 f d/h`,
  );
  await bench.send();
  await shell(
    bench.inside,
    `echo 22 >f; rm -r d; echo d >d; ln -sf g link; mkdir -p n/m; echo new >n/m/new; echo y >>z`,
  );
  const everything = () =>
    shell(bench.repository, "find . -name .git -prune -o -printf '%P %y %i %m %T@ %l\\n' | sort");
  const isTimeOfFile = (line: string) => !/^\S* d /.test(line);
  const before = [await listTree(bench.repository), (await everything()).split("\n").filter(isTimeOfFile)];
  await refusedWith("wrong_state", /No space left on device/, () => apply(bench));
  const after = [await listTree(bench.repository), (await everything()).split("\n").filter(isTimeOfFile)];
  assert.deepEqual(after, before, "the very same files are back, times and modes too");
  assert.equal(
    await shell(bench.repository, "find . -name .git -prune -o -type d -print | sort"),
    ".\n./d\n./d/e\n",
  );
});

Deno.test("as a branch: commits come as they are, and only as a new branch", async () => {
  await using bench = await makeBench();
  await shell(bench.repository, START);
  await bench.send({ branch: "work" });
  assert.equal(await git(bench.inside, "branch", "--show-current"), "work\n");
  await refusedWith(
    "not_found",
    /no commit was made/,
    () => reviewed(bench, (review) => bench.workspaces.landBranch(review, "back")),
  );
  await shell(
    bench.inside,
    `for i in 1 2 3; do echo $i >>g; git commit -qam "inside $i"; done; echo rest >>g`,
  );
  await shell(
    bench.repository,
    `printf '#!/bin/sh\\ntouch %s/hooked' "$PWD" >.git/hooks/reference-transaction
    chmod +x .git/hooks/reference-transaction`,
  );
  assert.equal(await reviewed(bench, (review) => bench.workspaces.landBranch(review, "back")), 3);
  assert.equal(
    await git(bench.repository, "log", "--format=%s", "back"),
    "inside 3\ninside 2\ninside 1\ntwo\none\n",
  );
  assert.equal(
    await git(bench.repository, "rev-parse", "back"),
    await git(bench.inside, "rev-parse", "HEAD"),
  );
  assert.equal(await git(bench.repository, "branch", "--show-current"), "main\n");
  await refusedWith(
    "already_exists",
    /one of that name/,
    () => reviewed(bench, (review) => bench.workspaces.landBranch(review, "back")),
  );
  await refusedWith(
    "invalid_argument",
    /refuses such a name/,
    () => reviewed(bench, (review) => bench.workspaces.landBranch(review, "-bad..name")),
  );
  assert.ok(!(await listTree(bench.repository)).some((line) => line.includes("hooked")), "no hook ran");
});

Deno.test("a patch since a commit has what was not committed outside, too", async () => {
  await using bench = await makeBench();
  await shell(bench.repository, `${START}; echo uncommitted >>g`);
  await bench.send();
  await shell(bench.inside, "echo inside >>d/h");
  const names = async (base?: string) => {
    const review = await bench.workspaces.review(VM, bench.start, base);
    await using _work = review.work;
    return review.changes.map(({ path }) => path);
  };
  assert.deepEqual(await names(), ["d/h"]);
  assert.deepEqual(await names("HEAD"), ["d/h", "g"]);
  assert.deepEqual(await names("HEAD~1"), ["d/h", "f", "g"]);
  await refusedWith("not_found", /no such commit/, () => names("nowhere"));
});

Deno.test("what is clean, exported or not is told apart", async () => {
  await using bench = await makeBench();
  await shell(bench.repository, `${START}; echo dirty >>g; echo u >u`);
  await bench.send();
  const isSafe = () => reviewed(bench, (review) => Promise.resolve(review.isSafe));
  assert.equal(await isSafe(), true);
  await shell(bench.inside, "touch f g; git status >/dev/null; echo '*.o' >>.git/info/exclude; echo o >x.o");
  assert.equal(await isSafe(), true, "times and ignored files are no work");
  await shell(bench.inside, "git commit -qam 'nothing new, but a commit'");
  assert.equal(await isSafe(), false);
  await reviewed(bench, (review) => bench.workspaces.markExported(VM.id, review));
  assert.equal(await isSafe(), true);
  await shell(bench.inside, "echo again >>f");
  assert.equal(await isSafe(), false);
  await shell(bench.inside, "git checkout -q f");
  assert.equal(await isSafe(), true);
});

Deno.test("sent again: the checkout follows, what git ignores inside stays", async () => {
  await using bench = await makeBench();
  await shell(bench.repository, `echo build >.gitignore; ${START}; mkdir e; echo e >e/e`);
  await bench.send();
  await shell(bench.inside, "mkdir build; echo kept >build/kept");
  await shell(
    bench.repository,
    "rm -r d; echo now-a-file >d; rm -r e; git mv g moved; echo n >n; git commit -qam three",
  );
  await bench.send();
  const status = (of: string) => git(of, "status", "--porcelain");
  assert.equal(await status(bench.inside), await status(bench.repository));
  assert.equal(
    await shell(bench.inside, "cat d build/kept; ls; git log --format=%s"),
    "now-a-file\nkept\nbuild\nd\nf\nmoved\nn\nthree\ntwo\none\n",
  );
});

Deno.test("from a commit: its files on a new branch, and nothing of the working tree", async () => {
  await using bench = await makeBench();
  await shell(
    bench.repository,
    `${START}; echo dirty >>f; echo u >u; git config filter.x.smudge 'touch hooked'
    echo '* filter=x' >.git/info/attributes`,
  );
  await refusedWith("invalid_argument", /--branch/, () => bench.send({ from: "HEAD~1" }));
  await refusedWith("not_found", /no such commit/, () => bench.send({ from: "nowhere", branch: "b" }));
  await bench.send({ from: "HEAD~1", branch: "b" });
  assert.equal(
    await shell(
      bench.inside,
      "git status --porcelain; git log --format=%s; git branch --show-current; wc -l <f; ls",
    ),
    "one\nb\n20\nd\nf\ng\n",
  );
  await shell(bench.inside, "sed -i 's/^3$/three/' f");
  await apply(bench);
  assert.equal(await shell(bench.repository, "sed -n '3p;21p;22p' f; ls"), "three\n21\ndirty\nd\nf\ng\nu\n");
});

Deno.test("a plain directory: copied without a .git, and what changed comes back", async () => {
  await using bench = await makeBench();
  const plain = `${bench.directory}/plain`;
  await shell(
    "/",
    `mkdir -p ${plain}/sub; cd ${plain}; echo a >a; echo b >sub/b; ln -s a l; echo x >.env; echo '*' >.gitignore`,
  );
  assert.equal(await bench.workspaces.plan({ path: plain }), undefined);
  await bench.send({ path: plain, copy: true });
  assert.equal(await shell(bench.inside, "find . | sort"), ".\n./.gitignore\n./a\n./l\n./sub\n./sub/b\n");
  assert.equal(await reviewed(bench, (review) => Promise.resolve(review.isSafe)), true);
  await shell(bench.inside, "rm .gitignore; echo more >>a; echo new >sub/new");
  await apply(bench);
  assert.equal(await shell(plain, "cat a sub/new; ls -A"), "a\nmore\nnew\n.env\na\nl\nsub\n");
});

Deno.test("a submodule's own work is no part of the patch, and is told", async () => {
  await using bench = await makeBench();
  await shell(
    bench.repository,
    `git init -q -b main ../lib; (cd ../lib; git config user.name n; git config user.email e
    echo l >l; git add .; git commit -qm l); git -c protocol.file.allow=always submodule --quiet add ../lib lib
    git commit -qm sub`,
  );
  await refusedWith("wrong_state", /submodule/, () => bench.send());
  await bench.send({ full: true });
  assert.deepEqual(await reviewed(bench, ({ isSafe, submodules }) => Promise.resolve([isSafe, submodules])), [
    true,
    [],
  ]);
  await shell(`${bench.inside}/lib`, "echo work >>l");
  assert.deepEqual(await reviewed(bench, ({ isSafe, submodules }) => Promise.resolve([isSafe, submodules])), [
    false,
    ["lib"],
  ]);
});

Deno.test("a guest without git: its files come back as data, ignored ones stay", async () => {
  await using bench = await makeBench({ guestPath: "/nonexistent" });
  await shell(
    bench.repository,
    `printf '*.o\\n/build\\n' >.gitignore; ${START}; echo f >forced.o; git add -f forced.o
    git commit -qm three; echo dirty >>g; printf n >$'odd\\n\\xff "name'; echo mine >.git/info/exclude`,
  );
  await bench.send();
  const status = () =>
    reviewed(bench, ({ isSafe, changes }) => Promise.resolve([isSafe, changes.map(({ path }) => path)]));
  assert.deepEqual(await status(), [true, []]);
  await shell(
    bench.inside,
    `echo x >>f; rm g; ln -s f link; ln f hard; mkdir build; echo b >build/b; echo o >x.o
    echo '*.log' >d/.gitignore; echo l >d/x.log; echo l >x.log; echo m >mine; echo f2 >>forced.o; chmod +x d/h
    n=$(printf 'n%.0s' $(seq 120)); mkdir $n; printf '\\0' >$n/$n; printf y >>$'odd\\n\\xff "name'`,
  );
  const name = "n".repeat(120);
  assert.deepEqual(await status(), [false, [
    "d/.gitignore",
    "d/h",
    "f",
    "forced.o",
    "g",
    "hard",
    "link",
    `${name}/${name}`,
    'odd\n\xff "name',
    "x.log",
  ]]);
  const tree = (await listTree(bench.inside)).filter((line) => !/build|x\.o |d\/x\.log|mine/.test(line));
  await apply(bench);
  assert.deepEqual((await listTree(bench.repository)).filter((line) => !/x\.o |mine/.test(line)), tree);
});

Deno.test("apply onto a commit of the user's that was not sent", async () => {
  await using bench = await makeBench();
  await shell(
    bench.repository,
    `for i in $(seq 15); do echo $i >>many; git add .; git commit -qm $i; done; echo x >>many`,
  );
  await bench.send();
  await shell(bench.inside, "echo inside >new");
  await shell(bench.repository, "git checkout -q -f HEAD~13");
  const review = await bench.workspaces.review(VM, bench.start, "HEAD");
  await using _work = review.work;
  await (await bench.workspaces.prepareLanding(review)).carryOut();
  assert.equal(await shell(bench.repository, "cat new; tail -1 many; wc -l <many"), "inside\nx\n16\n");
});

Deno.test("sending that is cut off is known, loses nothing outside, and is mended by sending again", async () => {
  await using bench = await makeBench();
  await shell(bench.repository, START);
  await bench.send();
  // More than a pipe holds: the other side has begun when it breaks.
  await shell(bench.repository, "echo more >>g; head -c 1000000 /dev/urandom >a");
  const plan = await bench.workspaces.plan({ path: bench.repository });
  assert.ok(plan);
  await using _plan = plan;
  const staged = await bench.workspaces.stage(plan);
  const open: typeof plan.tree.open = (path) => {
    const file = plan.tree.open(path);
    // As if somebody cut it between the look at its size and its end.
    return path === "g" ? { ...file, stat: { ...file.stat, sizeBytes: file.stat.sizeBytes + 1 } } : file;
  };
  const tree = { ...plan.tree, open };
  await refusedWith(
    "wrong_state",
    /"g": it became shorter/,
    () => bench.workspaces.send({ ...staged, plan: { ...plan, tree } }, VM.id, bench.start),
  );
  await refusedWith("wrong_state", /was cut off/, () => reviewed(bench, () => Promise.resolve()));
  await bench.send();
  assert.equal(await reviewed(bench, ({ isSafe }) => Promise.resolve(isSafe)), true);
  // As a file: nothing has happened in the guest then.
  await refusedWith(
    "wrong_state",
    /"g": it became shorter/,
    () => bench.workspaces.send({ ...staged, plan: { ...plan, tree } }, VM.id, bench.start, sendHere),
  );
  await bench.workspaces.discard(staged);
  assert.equal(await reviewed(bench, ({ isSafe }) => Promise.resolve(isSafe)), true);
  assert.equal(
    await git(bench.inside, "status", "--porcelain"),
    await git(bench.repository, "status", "--porcelain"),
  );
});

/** Of a tar: the header of one entry. */
const HEADER_BYTES = 512;

Deno.test("a stream that ends between two files is no whole repository, though tar takes it for one", async () => {
  await using bench = await makeBench();
  await shell(bench.repository, START);
  await bench.send();
  const plan = await bench.workspaces.plan({ path: bench.repository });
  assert.ok(plan);
  await using _plan = plan;
  const cutting: typeof bench.start = async (argv) => {
    const session = await bench.start(argv);
    let isFirst = true;
    return {
      finish: (sink) => session.finish(sink),
      async writeStdin(bytes) {
        if (isFirst) await session.writeStdin(bytes.subarray(0, HEADER_BYTES));
        isFirst = false;
      },
      closeStdin: () => session.closeStdin(),
      [Symbol.dispose]: () => session[Symbol.dispose](),
    };
  };
  const staged = await bench.workspaces.stage(plan);
  const send = () => bench.workspaces.send(staged, VM.id, cutting);
  await refusedWith("guest_failed", /Cannot send the repository/, send);
  await bench.workspaces.discard(staged);
  await refusedWith("wrong_state", /was cut off/, () => reviewed(bench, () => Promise.resolve()));
});
