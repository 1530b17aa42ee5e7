import { concatBytes } from "../../base/bytes.ts";
import { BangerError, reasonOf } from "../../base/errors.ts";
import type { Connection, Host } from "../../base/host.ts";
import { eitherSignal } from "../../base/signals.ts";
import { EXEC_FRAME, type ExecStart } from "../wire/exec.ts";
import { errorOfGuest } from "../wire/guest_text.ts";
import { encodeFrame } from "../wire/frames.ts";
import { type AgentHealth, MAX_HEALTH_BYTES, parseHealth } from "../wire/health.ts";
import {
  type Body,
  bodyOf,
  encodeChunk,
  encodeRequestHead,
  type Fields,
  readResponseHead,
  readWhole,
  type ResponseHead,
} from "../wire/http.ts";
import { type GuestStats, MAX_STATS_BYTES, parseStats } from "../wire/stats.ts";
import { type GuestPorts, MAX_PORTS_BYTES, parseGuestPorts } from "../wire/ports.ts";
import { AGENT_PORT } from "../wire/protocol.ts";
import {
  type AgentEndpoint,
  type GuestStream,
  openGuestStream,
  unreachable,
  withDeadline,
} from "./endpoint.ts";
import { ExecSession } from "./exec_session.ts";
import { LineSplitter } from "./line_splitter.ts";
import { PortStream } from "./port_stream.ts";

/** For the head of an answer that needs no work in the guest; a guest under emulation is slow. */
const ANSWER_TIMEOUT_MS = 30_000;
/** `sync` waits for disks. */
const SYNC_TIMEOUT_MS = 120_000;
/** A file system grows by writing the metadata of what is added. */
const GROW_TIMEOUT_MS = 120_000;
const HEALTH_AGAIN_MS = 25;
const MAX_ERROR_BYTES = 16 * 1024;

const CHUNKED = { "transfer-encoding": "chunked" };

export interface AnswerLimits {
  readonly maxBytes: number;
  /** Until the whole answer is here; default: that of an answer that needs no work in the guest. */
  readonly timeoutMs?: number;
}

/** Talks to one guest's agent: a connection for each request. What the guest says is checked and capped. */
export class AgentClient {
  readonly #host: Pick<Host, "sockets" | "clock">;
  readonly #endpoint: AgentEndpoint;

  constructor(host: Pick<Host, "sockets" | "clock">, endpoint: AgentEndpoint) {
    this.#host = host;
    this.#endpoint = endpoint;
  }

  /** @throws {BangerError} `guest_unreachable` where no answer comes in time; `corrupt_data`; the signal's reason */
  async health(timeoutMs: number, signal?: AbortSignal): Promise<AgentHealth> {
    const answer = await this.#ask("GET", "/healthz", timeoutMs, MAX_HEALTH_BYTES, signal);
    return parseHealth(answer);
  }

  /**
   * Asks until the agent answers: for a machine that boots.
   *
   * @throws {BangerError} `guest_unreachable` after `timeoutMs`; the signal's reason when it fires first
   */
  async untilHealthy(timeoutMs: number, signal?: AbortSignal): Promise<AgentHealth> {
    const { clock } = this.#host;
    const deadlineMs = clock.monotonicMs() + timeoutMs;
    for (;;) {
      signal?.throwIfAborted();
      const leftMs = deadlineMs - clock.monotonicMs();
      try {
        return await this.health(leftMs, signal);
      } catch (failure) {
        signal?.throwIfAborted();
        const isAway = failure instanceof BangerError && failure.code === "guest_unreachable";
        if (!isAway || clock.monotonicMs() + HEALTH_AGAIN_MS >= deadlineMs) throw failure;
      }
      await clock.sleep(HEALTH_AGAIN_MS, signal);
    }
  }

  /**
   * Starts a command. Nothing has come back from the guest yet when it returns: `finish` of the session
   * tells whether it started.
   *
   * @throws {BangerError} `guest_unreachable`; what the agent refuses
   */
  async exec(start: ExecStart): Promise<ExecSession> {
    const payload = new TextEncoder().encode(JSON.stringify(start));
    const first = encodeChunk(encodeFrame(EXEC_FRAME.start, payload));
    const { stream, head } = await this.#stream("POST", "/v1/exec", first);
    return new ExecSession(stream, bodyOf(head.fields, stream.reader), start.stdinClosed ?? false);
  }

  /**
   * Connects to `port` of one of the guest's own addresses, its loopback by default.
   *
   * @throws {BangerError} `connection_failed` where nothing listens there; `guest_unreachable`
   */
  async connect(port: number, address = "127.0.0.1"): Promise<Connection> {
    const target = `/v1/connect?port=${port}&address=${encodeURIComponent(address)}`;
    const { stream, head } = await this.#stream("POST", target, new Uint8Array(0));
    return new PortStream(stream, bodyOf(head.fields, stream.reader));
  }

  /**
   * Returns once something in the guest takes connections. Where a relay holds them until then, that is no work for
   * the guest.
   *
   * @throws {BangerError} `guest_unreachable`
   */
  async untilTaken(signal: AbortSignal): Promise<void> {
    await withDeadline(this.#host.clock, ANSWER_TIMEOUT_MS, async (deadline) => {
      using ends = eitherSignal(deadline, signal);
      const nothing = new Uint8Array(0);
      const stream = await openGuestStream(this.#host, this.#endpoint, AGENT_PORT, nothing, ends.signal);
      stream.connection.close();
    });
  }

  /**
   * Tells what listens in the guest, now and after each change, until the signal fires.
   *
   * @throws {BangerError} `guest_unreachable` where the agent goes; `corrupt_data`
   */
  async watchPorts(onPorts: (ports: GuestPorts) => void, signal: AbortSignal): Promise<void> {
    const head = encodeRequestHead("GET", "/v1/ports?watch=1", { "content-length": "0" });
    const answer = await withDeadline(
      this.#host.clock,
      ANSWER_TIMEOUT_MS,
      async (deadline) => {
        using ends = eitherSignal(deadline, signal);
        return await this.#exchange(head, ends.signal);
      },
    );
    using _closing = closing(answer.stream, signal);
    const body = bodyOf(answer.head.fields, answer.stream.reader);
    const lines = new LineSplitter(MAX_PORTS_BYTES);
    for (let part; (part = await orUnreachable(body.read())) !== null;) {
      for (const line of lines.push(part)) onPorts(parseGuestPorts(line));
    }
  }

  /**
   * Connects to the agent's own ssh server, which guests have that have no other.
   *
   * @throws {BangerError} `not_found` where the agent is too old to have one; `guest_unreachable`
   */
  async ssh(): Promise<Connection> {
    const { stream, head } = await this.#stream("POST", "/v1/ssh", new Uint8Array(0));
    return new PortStream(stream, bodyOf(head.fields, stream.reader));
  }

  /** Returns once the guest's filesystems are on its disks. */
  async sync(): Promise<void> {
    await this.#ask("POST", "/v1/sync", SYNC_TIMEOUT_MS, 0);
  }

  /**
   * Lets the work disk's file system fill its disk.
   *
   * @param diskBytes what the disk has now: the guest waits until it sees that
   * @throws {BangerError} `guest_failed`; `not_found` where the agent is too old to know how
   */
  async growWorkDisk(diskBytes: number): Promise<void> {
    await this.#ask("POST", `/v1/grow?disk=work&bytes=${diskBytes}`, GROW_TIMEOUT_MS, 0);
  }

  /** @throws {BangerError} `guest_unreachable`; `corrupt_data`; `not_found` where the agent is too old to know how */
  async stats(timeoutMs: number): Promise<GuestStats> {
    return parseStats(await this.#ask("GET", "/v1/stats", timeoutMs, MAX_STATS_BYTES));
  }

  /** Returns once the guest has begun to shut down. */
  async powerOff(): Promise<void> {
    await this.#ask("POST", "/v1/power-off", ANSWER_TIMEOUT_MS, 0);
  }

  /**
   * A request with a whole body and a whole answer, for the clients of single nouns.
   *
   * @param target path and query, of characters that URLs have
   */
  ask(method: string, target: string, limits: AnswerLimits, body?: Uint8Array): Promise<Uint8Array> {
    return this.#ask(method, target, limits.timeoutMs ?? ANSWER_TIMEOUT_MS, limits.maxBytes, undefined, body);
  }

  /** A request whose body and answer are frames. @param first what is sent at once, in chunks */
  async openFrames(target: string, first: Uint8Array): Promise<ExecSession> {
    const { stream, head } = await this.#stream("POST", target, first);
    return new ExecSession(stream, bodyOf(head.fields, stream.reader), false);
  }

  /**
   * A request whose body and answer are bytes that go on.
   *
   * @throws {BangerError} `guest_unreachable`; what the agent refuses
   */
  async openBytes(target: string): Promise<{ stream: GuestStream; body: Body; fields: Fields }> {
    const { stream, head: { fields } } = await this.#stream("POST", target, new Uint8Array(0));
    return { stream, body: bodyOf(fields, stream.reader), fields };
  }

  /** One request, one whole answer. */
  #ask(
    method: string,
    target: string,
    timeoutMs: number,
    maxBytes: number,
    signal?: AbortSignal,
    body: Uint8Array = new Uint8Array(0),
  ): Promise<Uint8Array> {
    const request = encodeRequestHead(method, target, { "content-length": `${body.length}` });
    return withDeadline(this.#host.clock, timeoutMs, async (deadline) => {
      using ends = eitherSignal(deadline, signal);
      const { stream, head } = await this.#exchange(concatBytes([request, body]), ends.signal);
      using _closing = closing(stream, ends.signal);
      return await orUnreachable(readWhole(bodyOf(head.fields, stream.reader), maxBytes));
    });
  }

  /** A request whose body and answer go on. */
  #stream(
    method: string,
    target: string,
    first: Uint8Array,
  ): Promise<{ stream: GuestStream; head: ResponseHead }> {
    const request = concatBytes([encodeRequestHead(method, target, CHUNKED), first]);
    return withDeadline(this.#host.clock, ANSWER_TIMEOUT_MS, (deadline) => this.#exchange(request, deadline));
  }

  /** @throws {BangerError} what the agent answers instead of success */
  async #exchange(
    request: Uint8Array,
    signal: AbortSignal,
  ): Promise<{ stream: GuestStream; head: ResponseHead }> {
    const stream = await openGuestStream(this.#host, this.#endpoint, AGENT_PORT, request, signal);
    const onAbort = () => stream.connection.close();
    signal.addEventListener("abort", onAbort);
    try {
      const head = await orUnreachable(readResponseHead(stream.reader));
      if (head.status >= 200 && head.status < 300) return { stream, head };
      throw await parseFailure(stream, head);
    } catch (failure) {
      stream.connection.close();
      throw failure;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }
}

/** A connection that ends inside an answer means that there is no agent any more, or none yet. */
async function orUnreachable<T>(reading: Promise<T>): Promise<T> {
  try {
    return await reading;
  } catch (failure) {
    if (failure instanceof BangerError && failure.code === "corrupt_data") throw failure;
    throw unreachable("the connection ended before the answer", failure);
  }
}

/** Closes the stream when the scope ends, or at once when the signal fires. */
function closing(stream: GuestStream, signal: AbortSignal): Disposable {
  const close = () => stream.connection.close();
  signal.addEventListener("abort", close);
  return {
    [Symbol.dispose]: () => {
      signal.removeEventListener("abort", close);
      close();
    },
  };
}

async function parseFailure(stream: GuestStream, head: ResponseHead): Promise<BangerError> {
  const fallback = `Cannot use the guest's agent: it answers with status ${head.status}`;
  const bytes = await readWhole(bodyOf(head.fields, stream.reader), MAX_ERROR_BYTES);
  try {
    return errorOfGuest(JSON.parse(new TextDecoder().decode(bytes)), fallback);
  } catch (failure) {
    return new BangerError("guest_failed", `${fallback} and no reason (${reasonOf(failure)})`);
  }
}
