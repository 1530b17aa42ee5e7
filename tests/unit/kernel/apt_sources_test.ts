import assert from "node:assert/strict";
import { formatAptSources, isMainArchive, parseAptSources } from "../../../lib/kernel/apt_sources.ts";

const DEB822 = `# a comment
Types: deb deb-src
# one inside
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
signed-by:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEY865UxYJKwYBBAHaRw8BAQdAd7Z0srwuhlB6JKFkcf4HU4SSS/xcRfwEQWzr
 -----END PGP PUBLIC KEY BLOCK-----
Check-Valid-Until: no
`;

Deno.test("deb822 sources: fields in any case, comments, key blocks", () => {
  const [main, security, ...more] = parseAptSources("/etc/apt/sources.list.d/debian.sources", DEB822);
  assert.deepEqual(main, {
    uris: ["http://mirror.example/debian"],
    suites: ["bookworm", "bookworm-updates"],
    signedBy: "/usr/share/keyrings/debian-archive-keyring.gpg",
    ignoresExpiry: false,
  });
  assert.match(security?.signedBy ?? "", /^\n -----BEGIN PGP[^]*END PGP PUBLIC KEY BLOCK-----$/);
  assert.equal(security?.ignoresExpiry, true);
  assert.deepEqual(more, []);
});

Deno.test("one-line sources: options, comments, other kinds", () => {
  const sources = parseAptSources(
    "/etc/apt/sources.list",
    [
      "# deb http://mirror.example/debian sid main",
      "deb-src http://mirror.example/debian bookworm main",
      "deb http://mirror.example/debian/ bookworm main non-free # tail",
      "  deb [ arch=amd64,arm64 signed-by=/a.gpg,/b.gpg ] https://mirror.example/pub/debian trixie contrib main",
      "deb mirror+file:/etc/apt/mirrors/debian.list trixie-backports main",
      "deb http://archive.debian.org/debian-security buster/updates main",
    ].join("\n"),
  );
  assert.deepEqual(sources.map(({ uris, suites, signedBy }) => [uris[0], suites[0], signedBy]), [
    ["http://mirror.example/debian/", "bookworm", undefined],
    ["https://mirror.example/pub/debian", "trixie", "/a.gpg /b.gpg"],
    ["mirror+file:/etc/apt/mirrors/debian.list", "trixie-backports", undefined],
    ["http://archive.debian.org/debian-security", "buster/updates", undefined],
  ]);
});

for (
  const [name, line] of [
    ["Ubuntu", "deb http://archive.ubuntu.com/ubuntu jammy main"],
    ["a vendor on Debian", "deb https://apt.vendor.example stable main"],
    ["a vendor's component", "deb https://download.docker.com/linux/debian bookworm stable"],
    ["a vendor's suite", "deb https://apt.postgresql.org/debian bookworm-pgdg main"],
    ["a flat repository", "deb file:/srv/debian ./"],
    ["no main component", "deb http://mirror.example/debian bookworm non-free"],
    ["nonsense", "deb"],
  ] as const
) {
  Deno.test(`sources of ${name} are left out`, () => {
    assert.deepEqual(parseAptSources("sources.list", line), []);
  });
}

Deno.test("sources that are switched off are left out", () => {
  assert.deepEqual(
    parseAptSources("a.sources", DEB822.replaceAll("Components:", "Enabled: No\nComponents:")),
    [],
  );
});

Deno.test("isMainArchive() tells releases from what lies over them", () => {
  const [main, security] = parseAptSources("a.sources", DEB822);
  assert.deepEqual([isMainArchive(main!), isMainArchive(security!)], [true, false]);
});

Deno.test("formatAptSources() gives what apt reads back the same", () => {
  const sources = parseAptSources("a.sources", DEB822);
  const formatted = formatAptSources(sources, "amd64");
  assert.deepEqual(parseAptSources("b.sources", formatted), sources);
  assert.doesNotMatch(formatted, /contrib|deb-src/);
});
