import type { Host } from "../../base/host.ts";
import { encodeTerminalSize, EXEC_FRAME, exitCodeOf, type TerminalSize } from "../wire/exec.ts";
import { encodeFrame } from "../wire/frames.ts";
import { encodeChunk } from "../wire/http.ts";
import {
  MAX_SEND_BYTES,
  MAX_SESSIONS_BYTES,
  parseSessionList,
  parseSessionName,
  parseSessionView,
  type SessionStart,
  type SessionView,
} from "../wire/sessions.ts";
import { AgentClient } from "./agent_client.ts";
import type { AgentEndpoint } from "./endpoint.ts";
import type { ExecSession, OutputSink } from "./exec_session.ts";

/** A command may take its time to end, and to read what is sent to it. */
const STOP_TIMEOUT_MS = 60_000;
const SEND_TIMEOUT_MS = 24 * 3600 * 1000;
const MAX_VIEW_BYTES = 64 * 1024;

export interface AttachOptions {
  /** Of what was printed; default: all that is kept. */
  readonly tailBytes?: number;
  /** False: only what was printed so far. */
  readonly isFollowing?: boolean;
  /** Of our terminal: sets the session's, and makes its program draw again. */
  readonly size?: TerminalSize;
}

/** The sessions of one guest; see `wire/sessions.ts`. Exported for tests. */
export class SessionClient {
  readonly #agent: AgentClient;

  constructor(host: Pick<Host, "sockets" | "clock">, endpoint: AgentEndpoint) {
    this.#agent = new AgentClient(host, endpoint);
  }

  /** @throws {BangerError} `already_exists`; why the command cannot start */
  async start(start: SessionStart): Promise<SessionView> {
    const body = new TextEncoder().encode(JSON.stringify(start));
    return parseSessionView(
      await this.#agent.ask("POST", "/v1/sessions", { maxBytes: MAX_VIEW_BYTES }, body),
    );
  }

  /** Oldest first. */
  async list(): Promise<SessionView[]> {
    return parseSessionList(await this.#agent.ask("GET", "/v1/sessions", { maxBytes: MAX_SESSIONS_BYTES }));
  }

  /** Leaving it (`close`) detaches. @throws {BangerError} `not_found` */
  async attach(name: string, { tailBytes, isFollowing, size }: AttachOptions): Promise<ExecSession> {
    const tail = tailBytes === undefined ? "" : `&tail=${tailBytes}`;
    const follow = isFollowing === false ? "&follow=0" : "";
    const first = size
      ? encodeChunk(encodeFrame(EXEC_FRAME.resize, encodeTerminalSize(size)))
      : new Uint8Array(0);
    return await this.#agent.openFrames(`${target("attach", name)}${tail}${follow}`, first);
  }

  /**
   * What is sent stays together up to 256 KiB.
   *
   * @returns once the command has taken it. @throws {BangerError} `wrong_state` where it takes nothing more
   */
  async send(name: string, bytes: Uint8Array, isEnd: boolean): Promise<void> {
    const limits = { maxBytes: 0, timeoutMs: SEND_TIMEOUT_MS };
    for (let at = 0;; at += MAX_SEND_BYTES) {
      const part = bytes.subarray(at, at + MAX_SEND_BYTES);
      const isLast = at + part.length === bytes.length;
      const end = isEnd && isLast ? "&end=1" : "";
      await this.#agent.ask("POST", `${target("stdin", name)}${end}`, limits, part);
      if (isLast) return;
    }
  }

  /** Idempotent. @returns once it has ended */
  async stop(name: string, isForced: boolean): Promise<SessionView> {
    const limits = { maxBytes: MAX_VIEW_BYTES, timeoutMs: STOP_TIMEOUT_MS };
    const request = `${target("stop", name)}${isForced ? "&force=1" : ""}`;
    return parseSessionView(await this.#agent.ask("POST", request, limits));
  }

  /** With its output. @throws {BangerError} `wrong_state` while it runs */
  async remove(name: string): Promise<void> {
    await this.#agent.ask("POST", target("remove", name), { maxBytes: 0 });
  }
}

/** As `SessionClient`, with ends of commands as shells tell them: for those who do not speak the protocol. */
export function sessionsOfGuest(host: Pick<Host, "sockets" | "clock">, endpoint: AgentEndpoint) {
  const client = new SessionClient(host, endpoint);
  return {
    start: client.start.bind(client),
    list: client.list.bind(client),
    send: client.send.bind(client),
    stop: client.stop.bind(client),
    remove: client.remove.bind(client),
    async attach(name: string, options: AttachOptions) {
      const session = await client.attach(name, options);
      return {
        async finish(sink: OutputSink): Promise<number | undefined> {
          const status = await session.finishOrDetach(sink);
          return status && exitCodeOf(status);
        },
        writeStdin: (bytes: Uint8Array) => session.writeStdin(bytes),
        resize: (size: TerminalSize) => session.resize(size),
        [Symbol.dispose]: () => session.close(),
      };
    },
  };
}

function target(action: string, name: string): string {
  return `/v1/sessions/${action}?name=${parseSessionName(name)}`;
}
