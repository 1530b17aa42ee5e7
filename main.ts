/** The command line: builds the real outside world, runs one command, and is the only one to print errors and exit. */
import { buildId, takeBuildStamp } from "./lib/base/build.ts";
import { BangerError, ERRORS, firstFailure } from "./lib/base/errors.ts";
import type { Host } from "./lib/base/host.ts";
import type { Context } from "./lib/cli/command.ts";
import { type Companion, materializeCompanion } from "./lib/cli/companions.ts";
import { daemonAccess } from "./lib/cli/daemon_access.ts";
import { guestAccess } from "./lib/cli/guest_access.ts";
import { say, visible } from "./lib/cli/output.ts";
import { parseCommandLine } from "./lib/cli/parse.ts";
import { type Paths, resolvePaths } from "./lib/store/paths.ts";
import { realHost } from "./lib/sys/host.ts";
import { systemTerminal } from "./lib/sys/terminal.ts";
import { unixFetch } from "./lib/sys/unix_fetch.ts";
