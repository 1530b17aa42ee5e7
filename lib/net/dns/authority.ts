import { concatBytes } from "../../base/bytes.ts";
import { isIpv4 } from "../../base/net_rules.ts";
import {
  type AnswerParts,
  type AnswerRecord,
  CLASS,
  encodeAnswer,
  encodeFailure,
  encodeName,
  parseQuery,
  type Question,
  RCODE,
  TYPE,
} from "./message.ts";

/** The names that are answered for: running VMs and their loopback addresses. */
export interface Names {
  /** @param label a VM's name */
  addressOf(label: string): string | undefined;
  nameAt(address: string): string | undefined;
}

const ZONE = "vm";
/** 127.42.0.0/16 and the bridge's 10.69.0.0/16, backwards, and what stands in front of the rest. */
const REVERSE_ZONES = [["42.127.in-addr.arpa", "127.42"], ["69.10.in-addr.arpa", "10.69"]] as const;
/** A VM may be gone, or there again, in a moment: nobody should remember an answer for long. */
const TTL_SECONDS = 5;
const NEGATIVE_TTL_SECONDS = 1;
const SOA_TIMES = { refresh: 60, retry: 10, expire: 3600 } as const;

/**
 * Answers one message: for `.vm` and its reverse zone with authority, for everything else with REFUSED, since
 * whoever wants the rest of the names must ask somebody else.
 *
 * @returns undefined where silence is the answer. Never throws
 */
export function answerQuery(message: Uint8Array, names: Names): Uint8Array<ArrayBuffer> | undefined {
  const parsed = parseQuery(message);
  if (parsed.kind === "drop") return undefined;
  if (parsed.kind === "failure") return encodeFailure(parsed.id, parsed.opcode, parsed.rcode);
  return encodeAnswer(parsed.query, partsFor(parsed.query.question, names));
}

const REFUSED: AnswerParts = { rcode: RCODE.refused, authoritative: false };

function partsFor(question: Question, names: Names): AnswerParts {
  const { name, type } = question;
  const isTransfer = type === TYPE.AXFR || type === TYPE.IXFR || type === TYPE.OPT;
  if (isTransfer || (question.class !== CLASS.IN && question.class !== CLASS.ANY)) return REFUSED;
  if (name === ZONE || name.endsWith(`.${ZONE}`)) return forwardParts(question, names);
  const reverse = REVERSE_ZONES.find(([zone]) => name === zone || name.endsWith(`.${zone}`));
  return reverse ? reverseParts(question, names, reverse[0], reverse[1]) : REFUSED;
}

function forwardParts({ name, type }: Question, names: Names): AnswerParts {
  if (name === ZONE) return apexParts(ZONE, type);
  const label = name.slice(0, -ZONE.length - 1);
  const address = label.includes(".") ? undefined : names.addressOf(label);
  if (address === undefined || !isIpv4(address)) return negative(ZONE, RCODE.nxDomain);
  if (type !== TYPE.A && type !== TYPE.ANY) return negative(ZONE, RCODE.ok);
  const data = Uint8Array.from(address.split("."), Number);
  return positive({ name, type: TYPE.A, ttlSeconds: TTL_SECONDS, data });
}

function reverseParts({ name, type }: Question, names: Names, zone: string, prefix: string): AnswerParts {
  if (name === zone) return apexParts(zone, type);
  const labels = name.slice(0, -zone.length - 1).split(".");
  if (
    !labels.every((label) => /^(?:0|[1-9]\d{0,2})$/.test(label) && Number(label) <= 255) || labels.length > 2
  ) {
    return negative(zone, RCODE.nxDomain);
  }
  // 0.42.127.in-addr.arpa: there may be names below it (RFC 8020).
  if (labels.length === 1) return negative(zone, RCODE.ok);
  const target = names.nameAt(`${prefix}.${labels[1]}.${labels[0]}`);
  if (target === undefined) return negative(zone, RCODE.nxDomain);
  if (type !== TYPE.PTR && type !== TYPE.ANY) return negative(zone, RCODE.ok);
  return positive({ name, type: TYPE.PTR, ttlSeconds: TTL_SECONDS, data: encodeName(`${target}.${ZONE}`) });
}

function apexParts(zone: string, type: number): AnswerParts {
  if (type === TYPE.SOA || type === TYPE.ANY) return positive(soa(zone));
  if (type === TYPE.NS) {
    return positive({ name: zone, type: TYPE.NS, ttlSeconds: TTL_SECONDS, data: encodeName("localhost") });
  }
  return negative(zone, RCODE.ok);
}

function positive(record: AnswerRecord): AnswerParts {
  return { rcode: RCODE.ok, authoritative: true, answers: [record] };
}

/** With the zone's SOA, which says how long "there is none" may be remembered (RFC 2308). */
function negative(zone: string, rcode: 0 | 3): AnswerParts {
  return { rcode, authoritative: true, authority: [soa(zone)] };
}

function soa(zone: string): AnswerRecord {
  const numbers = new Uint8Array(20);
  const view = new DataView(numbers.buffer);
  // Nobody transfers the zone, so its serial tells nobody anything.
  [1, SOA_TIMES.refresh, SOA_TIMES.retry, SOA_TIMES.expire, NEGATIVE_TTL_SECONDS].forEach((value, index) =>
    view.setUint32(4 * index, value)
  );
  const data = concatBytes([encodeName("localhost"), encodeName("banger.localhost"), numbers]);
  return { name: zone, type: TYPE.SOA, ttlSeconds: NEGATIVE_TTL_SECONDS, data };
}
