import assert from "node:assert/strict";
import { archive, directory, file, hardLink, member, symlink } from "./archive.ts";
import { rejectsWith, replay, replayed } from "./replayed.ts";

const LOWER = archive(
  directory("d"),
  file("d/lower", "lower"),
  directory("d/sub"),
  file("d/sub/deep", "deep"),
  file("x", "old x"),
  symlink("dangling", "nowhere"),
);
const LOWER_TREE = {
  d: "dir",
  "d/lower": "lower",
  "d/sub": "dir",
  "d/sub/deep": "deep",
  dangling: "-> nowhere",
  x: "old x",
};

Deno.test("a whiteout removes a file, a directory with all below it, and a symlink itself", async () => {
  const upper = archive(file(".wh.x"), file("d/.wh.sub"), file(".wh.dangling"));
  assert.deepEqual(await replayed(LOWER, upper), { d: "dir", "d/lower": "lower" });
});

for (const name of [".wh.", "d/.wh."]) {
  Deno.test(`W1 ${name} alone is refused`, async () => {
    await rejectsWith(replay([LOWER, archive(file(name))]), "corrupt_data", /hides no name/);
  });
}

for (const name of [".wh..", ".wh...", "d/.wh..", "d/.wh..."]) {
  Deno.test(`W2 ${name} is refused`, async () => {
    await rejectsWith(replay([LOWER, archive(file(name))]), "corrupt_data", /hides no name/);
    await rejectsWith(replay([archive(file(name))]), "corrupt_data", /hides no name/);
  });
}

for (const order of ["before", "after"] as const) {
  Deno.test(`W3 a whiteout ${order} an entry of its own layer spares it`, async () => {
    const parts = [file(".wh.x"), file("x", "new x")];
    const upper = archive(...(order === "before" ? parts : parts.reverse()));
    assert.equal((await replayed(LOWER, upper))["x"], "new x");
  });

  Deno.test(`W3 a whiteout of a directory ${order} entries of its own layer hides what is lower`, async () => {
    const whiteout = [file(".wh.d")];
    const entries = [directory("d"), file("d/upper", "upper"), directory("d/sub"), file("d/sub/new", "new")];
    const upper = archive(...(order === "before" ? [...whiteout, ...entries] : [...entries, ...whiteout]));
    const { dangling: _, x: __, ...d } = await replayed(LOWER, upper);
    assert.deepEqual(d, { d: "dir", "d/sub": "dir", "d/sub/new": "new", "d/upper": "upper" });
  });

  Deno.test(`W4 an opaque mark ${order} entries of its own layer hides lower ones only`, async () => {
    const mark = [file("d/.wh..wh..opq")];
    const entries = [file("d/upper", "upper"), file("d/sub/new", "new")];
    const upper = archive(
      directory("d"),
      ...(order === "before" ? [...mark, ...entries] : [...entries, ...mark]),
    );
    const { dangling: _, x: __, ...d } = await replayed(LOWER, upper);
    assert.deepEqual(d, { d: "dir", "d/sub": "dir", "d/sub/new": "new", "d/upper": "upper" });
  });
}

Deno.test("W3 a whiteout spares a hard link that its own layer made to a lower file of that name", async () => {
  const upper = archive(hardLink("d/lower", "x"), file("d/.wh.lower"));
  const tree = await replayed(LOWER, upper);
  assert.equal(tree["d/lower"], "old x");
});

Deno.test("W4 an opaque mark on the root hides all that is lower", async () => {
  assert.deepEqual(await replayed(LOWER, archive(file("new", "n"), file(".wh..wh..opq"))), { new: "n" });
});

Deno.test("W4 a third layer sees what the second made as lower", async () => {
  const second = archive(directory("d"), file("d/second", "2"));
  const third = archive(file("d/.wh..wh..opq"), file("d/third", "3"));
  const tree = await replayed(LOWER, second, third);
  assert.deepEqual(Object.keys(tree), ["d", "d/third", "dangling", "x"]);
});

Deno.test("W5 other names of AUFS are hidden and delete nothing", async () => {
  const upper = archive(
    file(".wh..wh.aufs", "bookkeeping"),
    directory(".wh..wh.plnk"),
    file(".wh..wh.plnk/1.2", "link"),
    file("d/.wh..wh.x"),
  );
  assert.deepEqual(await replayed(LOWER, upper), LOWER_TREE);
});

for (
  const name of [
    ".wh.missing",
    "d/.wh.missing",
    "none/.wh.x",
    "dangling/.wh.x",
    "x/.wh.y",
    "none/.wh..wh..opq",
  ]
) {
  Deno.test(`W6 ${name} hides nothing and is no error`, async () => {
    assert.deepEqual(await replayed(LOWER, archive(file(name))), LOWER_TREE);
  });
}

Deno.test("W6 whiteouts in the lowest layer hide nothing", async () => {
  assert.deepEqual(await replayed(archive(file("x", "x"), file(".wh.x"), file(".wh..wh..opq"))), { x: "x" });
});

for (
  const [why, entry] of [
    ["with content", file(".wh.x", "content")],
    ["that is a directory", directory(".wh.x")],
    ["that is a symlink", symlink(".wh.x", "x")],
    ["that is a hard link", hardLink(".wh.x", "d/lower")],
    ["that is a device", member({ name: ".wh.x", type: "3" })],
    ["opaque and with content", file("d/.wh..wh..opq", "content")],
    ["opaque and a directory", directory("d/.wh..wh..opq")],
  ] as const
) {
  Deno.test(`W7 a whiteout ${why} is refused`, async () => {
    await rejectsWith(replay([LOWER, archive(entry)]), "corrupt_data", /must be an empty file/);
  });
}

Deno.test("W7 something below a whiteout is refused", async () => {
  await rejectsWith(replay([LOWER, archive(file(".wh.d/f", "f"))]), "corrupt_data", /cannot be a directory/);
});
