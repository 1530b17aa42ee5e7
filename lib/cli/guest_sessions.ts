import type { ExecStart, OutputSink } from "./command.ts";

/** Sessions of one guest, as `lib/guest/client/session_client.ts` gives them. */
export interface GuestSessions {
  start(start: ExecStart & { readonly name?: string }): Promise<SessionView>;
  /** Oldest first. */
  list(): Promise<SessionView[]>;
  /** Leaving it detaches. */
  attach(name: string, options: AttachOptions): Promise<AttachedSession>;
  /** @returns once the command has taken it */
  send(name: string, bytes: Uint8Array, isEnd: boolean): Promise<void>;
  /** @returns once it has ended */
  stop(name: string, isForced: boolean): Promise<SessionView>;
  remove(name: string): Promise<void>;
}

export interface AttachOptions {
  /** Of what was printed; default: all that is kept. */
  readonly tailBytes?: number;
  /** False: only what was printed so far. */
  readonly isFollowing?: boolean;
  readonly size?: { readonly rows: number; readonly columns: number };
}

export interface SessionView {
  readonly name: string;
  /** `lost`: its agent or its machine went before it ended. */
  readonly state: "running" | "exited" | "lost";
  readonly command: string;
  readonly cwd: string;
  readonly user: string;
  readonly hasTerminal: boolean;
  readonly pid: number;
  readonly startedAt: string;
  readonly endedAt?: string;
  readonly exit?: { readonly code: number } | { readonly signal: number };
  readonly outputBytes: number;
  readonly lostBytes: number;
  readonly attachedClients: number;
}

export interface AttachedSession extends Disposable {
  /** @returns the command's exit code, or 128 + signal; undefined where it goes on and only its output was asked for */
  finish(sink: SessionSink): Promise<number | undefined>;
  writeStdin(bytes: Uint8Array): Promise<void>;
  resize(size: { readonly rows: number; readonly columns: number }): Promise<void>;
}

export interface SessionSink extends OutputSink {
  /** So many bytes in front of what follows are gone. */
  lost(bytes: number): Promise<void>;
}

export function exitText({ state, exit }: Pick<SessionView, "state" | "exit">): string {
  if (!exit) return state;
  return "code" in exit ? `exited ${exit.code}` : `signal ${exit.signal}`;
}
