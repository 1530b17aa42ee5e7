import assert from "node:assert/strict";
import { type AptSource, parseAptSources } from "../../../lib/base/apt_sources.ts";
import { bookwormLines } from "../../../lib/image/recipes/debian_bookworm.ts";

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

const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

Deno.test("parseAptSources() reads deb822: lists, continuation lines, comments, what is disabled", () => {
  const mirror = { uri: "http://mirror.example/debian", components: ["main", "contrib"], signedBy: KEYRING };
  assert.deepEqual(parseAptSources("/etc/apt/sources.list.d/debian.sources", DEB822), [
    { ...mirror, suite: "bookworm" },
    { ...mirror, suite: "bookworm-updates" },
    {
      uri: "https://security.example/debian-security",
      suite: "bookworm-security",
      components: ["main", "non-free"],
    },
  ]);
});

const LINES: [string, AptSource[]][] = [
  ["deb http://a/debian bookworm main", [{
    uri: "http://a/debian",
    suite: "bookworm",
    components: ["main"],
  }]],
  ["  deb\thttp://a/debian/ sid main contrib # why", [
    { uri: "http://a/debian", suite: "sid", components: ["main", "contrib"] },
  ]],
  ["deb [arch=amd64 signed-by=/k.gpg] http://a/d bookworm main", [
    { uri: "http://a/d", suite: "bookworm", components: ["main"], signedBy: "/k.gpg" },
  ]],
  ["# deb http://a/debian bookworm main", []],
  ["deb-src http://a/debian bookworm main", []],
  ["deb http://a/debian", []],
  ["", []],
];
for (const [line, expected] of LINES) {
  Deno.test(`parseAptSources() reads the line ${JSON.stringify(line)}`, () => {
    assert.deepEqual(parseAptSources("/etc/apt/sources.list", line), expected);
  });
}

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
