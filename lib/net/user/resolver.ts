/**
 * The guest's name server, 10.0.2.3: it asks this host's own name servers, as far as the VM's policy lets it,
 * and remembers what they said, since that is what rules with names mean.
 */
import { writeFully } from "../../base/bytes.ts";
import { reasonOf } from "../../base/errors.ts";
import type { Connection, Host } from "../../base/host.ts";
import { ipv4Text, isIpv4 } from "../../base/net_rules.ts";
import {
  type AnswerParts,
  encodeAnswer,
  encodeFailure,
  parseAnswer,
  parseQuery,
  type Query,
  RCODE,
  TYPE,
} from "../dns/message.ts";
import { type EgressPolicy, HOST_ADDRESS, HOST_NAME, type RefusalLog } from "../policy.ts";
import { uint32 } from "./packets.ts";

const RESOLV_CONF = "/etc/resolv.conf";
const MAX_RESOLV_CONF_BYTES = 64 * 1024;
const SERVERS_AGE_MS = 10_000;
const ANSWER_TIMEOUT_MS = 3000;
/** A guest that floods its name server is answered this often at once, and not beyond. */
const MAX_PENDING = 128;
const MAX_MESSAGE_BYTES = 65_535;
/** RFC 8914: the answer is withheld on purpose. */
const PROHIBITED = 18;
const HOST_TTL_SECONDS = 60;

type ResolverHost = Pick<Host, "files" | "network" | "clock" | "log">;

export interface ResolverOptions {
  /** Where the guest finds this host. */
  readonly hostAddress?: number;
  /** Told what a name was resolved to, before the guest is. */
  readonly onResolved?: (name: string, addresses: readonly number[]) => Promise<void>;
}

export class GuestResolver {
  readonly #host: ResolverHost;
  readonly #policy: EgressPolicy;
  readonly #refusals: RefusalLog;
  readonly #options: ResolverOptions;
  #servers: Promise<readonly string[]> = Promise.resolve([]);
  #serversAtMs = -Infinity;
  #pending = 0;

  constructor(host: ResolverHost, policy: EgressPolicy, refusals: RefusalLog, options: ResolverOptions = {}) {
    this.#host = host;
    this.#policy = policy;
    this.#refusals = refusals;
    this.#options = options;
  }

  /**
   * @param message of the guest; its bytes are its own
   * @returns undefined where silence is the answer
   */
  async answer(message: Uint8Array, viaTcp: boolean): Promise<Uint8Array | undefined> {
    const parsed = parseQuery(message);
    if (parsed.kind === "drop" || this.#pending >= MAX_PENDING) return undefined;
    if (parsed.kind === "failure") return encodeFailure(parsed.id, parsed.opcode, parsed.rcode);
    const { query } = parsed;
    const own = this.#ownAnswer(query);
    if (own) return encodeAnswer(query, own);
    this.#pending++;
    try {
      return await this.#ask(query, message, viaTcp) ?? failed(query);
    } catch (thrown) {
      this.#host.log("debug", "no answer for a guest", { reason: reasonOf(thrown) });
      return failed(query);
    } finally {
      this.#pending--;
    }
  }

  /** Serves the guest's name server over a connection of the guest: messages behind their lengths. */
  async serve(connection: Connection): Promise<void> {
    try {
      for (let message; (message = await readMessage(connection));) {
        const answer = await this.answer(message, true);
        if (!answer) break;
        await writeMessage(connection, answer);
      }
      await connection.closeWrite();
    } finally {
      connection.close();
    }
  }

  /** What needs nobody else: the host's own name, `.vm`, and what may not be asked. */
  #ownAnswer({ question }: Query): AnswerParts | undefined {
    const { name, type } = question;
    const local = { authoritative: true, recursionAvailable: true } as const;
    if (name === HOST_NAME) {
      const data = Uint8Array.from(ipv4Text(this.#options.hostAddress ?? HOST_ADDRESS).split("."), Number);
      const answers = type === TYPE.A ? [{ name, type, ttlSeconds: HOST_TTL_SECONDS, data }] : [];
      return { ...local, rcode: RCODE.ok, answers };
    }
    // VMs do not reach each other through this host: a name that leads nowhere would only mislead.
    if (name === "vm" || name.endsWith(".vm")) return { ...local, rcode: RCODE.nxDomain };
    if (this.#policy.mayResolve(name)) return undefined;
    const why = "not allowed by the VM's network policy";
    if (!name.endsWith(".in-addr.arpa")) this.#refusals.add({ protocol: "dns", target: name, why });
    const text = "Refused by the VM's network policy. Do not work around it: ask the person who runs the VM";
    const extendedError = { code: PROHIBITED, text };
    return { rcode: RCODE.refused, authoritative: false, recursionAvailable: true, extendedError };
  }

  async #ask(query: Query, message: Uint8Array, viaTcp: boolean): Promise<Uint8Array | undefined> {
    for (const server of await this.#nameServers()) {
      const answer = viaTcp
        ? await this.#askTcp(server, message)
        : await this.#askUdp(server, query, message);
      const parsed = answer && parseAnswer(answer);
      if (!parsed || parsed.question.name !== query.question.name) continue;
      const { name } = query.question;
      const found = parsed.answers.filter(({ type, data }) => type === TYPE.A && data.length === 4);
      for (const { data, ttlSeconds } of found) this.#policy.pin(name, uint32(data, 0), ttlSeconds);
      await this.#options.onResolved?.(name, found.map(({ data }) => uint32(data, 0)));
      return answer;
    }
    return undefined;
  }

  /** From a port and with an id that nobody can guess, so that nobody else can answer. */
  async #askUdp(server: string, query: Query, message: Uint8Array): Promise<Uint8Array | undefined> {
    const id = crypto.getRandomValues(new Uint16Array(1))[0]!;
    const answered = Promise.withResolvers<Uint8Array>();
    const socket = await this.#host.network.bindUdp("0.0.0.0", 0, (bytes, from) => {
      const isOurs = from.address === server && from.port === 53 && bytes.length >= 12 &&
        bytes[0] === id >>> 8 && bytes[1] === (id & 0xff);
      if (isOurs) answered.resolve(bytes);
    });
    try {
      socket.send(withId(message, id), { address: server, port: 53 });
      const answer = await this.#inTime(answered.promise);
      return answer && withId(answer, query.id);
    } finally {
      socket.close();
    }
  }

  async #askTcp(server: string, message: Uint8Array): Promise<Uint8Array | undefined> {
    const connection = await this.#host.network.connectTcp(server, 53);
    try {
      await writeMessage(connection, message);
      return await this.#inTime(readMessage(connection));
    } finally {
      connection.close();
    }
  }

  async #inTime<T>(answer: Promise<T>): Promise<T | undefined> {
    const done = new AbortController();
    const late = this.#host.clock.sleep(ANSWER_TIMEOUT_MS, done.signal).then(
      () => undefined,
      () => undefined,
    );
    try {
      return await Promise.race([answer, late]);
    } finally {
      done.abort();
    }
  }

  /** Questions that come together wait for the same reading. */
  #nameServers(): Promise<readonly string[]> {
    const { files, clock } = this.#host;
    if (clock.monotonicMs() - this.#serversAtMs > SERVERS_AGE_MS) {
      this.#serversAtMs = clock.monotonicMs();
      this.#servers = files.readText(RESOLV_CONF, MAX_RESOLV_CONF_BYTES).then(nameServersOf);
    }
    return this.#servers;
  }
}

/** Source: resolv.conf(5): up to three are used; without one it is this host. Exported for tests. */
export function nameServersOf(text: string): string[] {
  const servers = text.split("\n").map((line) => /^nameserver\s+(\S+)/.exec(line)?.[1] ?? "").filter(isIpv4);
  return servers.length > 0 ? servers.slice(0, 3) : ["127.0.0.1"];
}

function failed(query: Query): Uint8Array {
  return encodeAnswer(query, { rcode: RCODE.serverFailure, authoritative: false, recursionAvailable: true });
}

function withId(message: Uint8Array, id: number): Uint8Array {
  const copy = message.slice();
  copy[0] = id >>> 8;
  copy[1] = id & 0xff;
  return copy;
}

async function writeMessage(connection: Connection, message: Uint8Array): Promise<void> {
  const framed = new Uint8Array(2 + message.length);
  framed.set([message.length >>> 8, message.length & 0xff]);
  framed.set(message, 2);
  await writeFully((bytes) => connection.write(bytes), framed);
}

async function readMessage(connection: Connection): Promise<Uint8Array | undefined> {
  const head = await readExactly(connection, 2);
  const length = head && ((head[0]! << 8) | head[1]!);
  return length && length <= MAX_MESSAGE_BYTES ? await readExactly(connection, length) : undefined;
}

async function readExactly(connection: Connection, count: number): Promise<Uint8Array | undefined> {
  const buffer = new Uint8Array(count);
  for (let filled = 0; filled < count;) {
    const read = await connection.read(buffer.subarray(filled));
    if (read === null) return undefined;
    filled += read;
  }
  return buffer;
}
