import { BangerError, reasonOf } from "../../lib/base/errors.ts";
import type { Log } from "../../lib/base/host.ts";
import { SIGNALS } from "../../lib/guest/wire/exec.ts";
import { MAX_SESSIONS, parseSessionName, type SessionStart } from "../../lib/guest/wire/sessions.ts";
import type { Descriptors } from "../descriptor.ts";
import { readSmallFile } from "../small_files.ts";
import { readRecord, Session, type SessionRecord } from "./session.ts";

/**
 * All sessions of a guest. They live with the agent: it alone can wait for their commands. What runs when the
 * agent ends, ends with it, and the next agent tells it as lost; its output stays.
 */
export class Sessions {
  readonly #descriptors: Descriptors;
  readonly #directory: string;
  readonly #log: Log;
  readonly #sessions = new Map<string, Session>();
  /** Taken by starts that are under way. */
  readonly #reserved = new Set<string>();
  #loading: Promise<void> | undefined;

  /** @param directory of ours; it need not exist */
  constructor(descriptors: Descriptors, directory: string, log: Log) {
    this.#descriptors = descriptors;
    this.#directory = directory;
    this.#log = log;
  }

  /** Finds what earlier agents have left, and ends what of it still runs. Idempotent. */
  recover(): Promise<void> {
    return this.#loading ??= this.#load();
  }

  /** Oldest first. */
  async list(): Promise<Session[]> {
    await this.recover();
    return [...this.#sessions.values()].sort((a, b) => a.record.startedAt < b.record.startedAt ? -1 : 1);
  }

  /** @throws {BangerError} `not_found` */
  async get(nameText: string | null): Promise<Session> {
    await this.recover();
    const session = this.#sessions.get(parseSessionName(nameText));
    if (session) return session;
    throw new BangerError(
      "not_found",
      `Cannot find session ${nameText} in the guest`,
      "List them: banger vm session list VM",
    );
  }

  /** @throws {BangerError} `already_exists`; `in_use` where too many run; why the command cannot start */
  async start(start: SessionStart): Promise<Session> {
    await this.recover();
    const name = start.name ?? this.#freeName(start.argv);
    if (this.#isTaken(name)) {
      throw new BangerError(
        "already_exists",
        `Cannot start session ${name}: the guest has one of that name`,
        "Choose another name, or remove it: banger vm session rm VM NAME",
      );
    }
    await this.#makeRoom();
    this.#reserved.add(name);
    const directory = `${this.#directory}/${name}`;
    try {
      await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
      const session = await Session.start(
        this.#descriptors,
        directory,
        { ...start, name },
        (pid) => this.#identify(pid),
        this.#log,
      );
      this.#sessions.set(name, session);
      return session;
    } catch (failure) {
      await Deno.remove(directory, { recursive: true }).catch((reason) =>
        this.#log("warn", "cannot remove a session's directory", { reason: reasonOf(reason) })
      );
      throw failure;
    } finally {
      this.#reserved.delete(name);
    }
  }

  /** @throws {BangerError} `wrong_state` while it runs */
  async remove(session: Session): Promise<void> {
    const { name, state } = session.record;
    if (state === "running") {
      throw new BangerError(
        "wrong_state",
        `Cannot remove session ${name}: it runs`,
        "Stop it first: banger vm session stop VM NAME",
      );
    }
    if (!this.#sessions.delete(name)) return;
    await session.remove();
  }

  #isTaken(name: string): boolean {
    return this.#sessions.has(name) || this.#reserved.has(name);
  }

  #freeName(argv: readonly string[]): string {
    const program = (argv[0] ?? "shell").split("/").at(-1)!;
    const base = program.replaceAll(/[^A-Za-z0-9_-]/g, "").replace(/^[_-]+/, "").slice(0, 40) || "session";
    for (let number = 1;; number++) {
      const name = number === 1 ? base : `${base}-${number}`;
      if (!this.#isTaken(name)) return name;
    }
  }

  async #makeRoom(): Promise<void> {
    if (this.#sessions.size + this.#reserved.size < MAX_SESSIONS) return;
    const oldest = (await this.list()).filter(({ record }) => record.state !== "running")
      .sort((a, b) => (a.record.endedAt ?? "") < (b.record.endedAt ?? "") ? -1 : 1)[0];
    if (oldest) return await this.remove(oldest);
    throw new BangerError(
      "in_use",
      `Cannot start a session: ${MAX_SESSIONS} run already`,
      "Stop some of them",
    );
  }

  async #load(): Promise<void> {
    for (const name of await this.#names()) {
      const directory = `${this.#directory}/${name}`;
      try {
        const record = await readRecord(directory);
        if (!record || record.name !== name) continue;
        if (record.state === "running") this.#endLeftOver(record);
        this.#sessions.set(name, await Session.ofEarlier(directory, record, this.#log));
      } catch (failure) {
        this.#log("warn", "cannot read a session's record", { name, reason: reasonOf(failure) });
      }
    }
  }

  async #names(): Promise<string[]> {
    try {
      return (await Array.fromAsync(Deno.readDir(this.#directory))).map(({ name }) => name);
    } catch (failure) {
      if (failure instanceof Deno.errors.NotFound) return [];
      throw failure;
    }
  }

  /** Nobody can tell its end any more, nor read what it prints. */
  #endLeftOver(record: SessionRecord): void {
    const { pid, bootId, startTimeTicks } = record;
    const now = this.#identify(pid);
    if (pid > 1 && now.bootId === bootId && now.startTimeTicks === startTimeTicks && startTimeTicks > 0) {
      this.#descriptors.libc.call.kill(-pid, SIGNALS.SIGKILL);
    }
  }

  /** @returns `startTimeTicks` 0 where there is no such process. Source: proc(5), field 22 of /proc/PID/stat */
  #identify(pid: number): Pick<SessionRecord, "bootId" | "startTimeTicks"> {
    const { libc } = this.#descriptors;
    const stat = readSmallFile(libc, `/proc/${pid}/stat`) ?? "";
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return {
      bootId: (readSmallFile(libc, "/proc/sys/kernel/random/boot_id") ?? "").trim(),
      startTimeTicks: Number(fields[19] ?? 0),
    };
  }
}
