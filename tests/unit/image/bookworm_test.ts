import assert from "node:assert/strict";
import { bookwormLines } from "../../../lib/image/recipes/debian_bookworm.ts";
import { parseAptSources } from "../../../lib/kernel/apt_sources.ts";

const DEB822 = `Types: deb deb-src
# a comment between the fields
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: https://security.example/debian-security
Suites: bookworm-security
Components:
 main
 non-free
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEX

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://src.example/debian
Suites: bookworm
Components: main
`;

Deno.test("bookwormLines() takes the host's own mirrors of bookworm, its main part only", () => {
  assert.deepEqual(bookwormLines(parseAptSources("x.sources", DEB822)), [
    "deb http://mirror.example/debian bookworm main",
    "deb http://mirror.example/debian bookworm-updates main",
    "deb https://security.example/debian-security bookworm-security main",
  ]);
});

const WITHOUT: [string, string][] = [
  ["another suite", "deb http://a/debian trixie main"],
  ["no main", "deb http://a/debian bookworm contrib"],
  ["only updates", "deb http://a/debian bookworm-updates main"],
  ["a CD", "deb cdrom:[Debian]/ bookworm main"],
  ["another distribution's packages", "deb https://packages.example cloud-sdk-bookworm main"],
];
for (const [what, line] of WITHOUT) {
  Deno.test(`bookwormLines() leaves the mirrors to mmdebstrap where the host has ${what}`, () => {
    assert.deepEqual(bookwormLines(parseAptSources("sources.list", line)), []);
  });
}
