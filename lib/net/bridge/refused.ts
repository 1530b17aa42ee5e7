import type { Refusal } from "../control.ts";

const SET_TIMEOUT_SECONDS = 3600;

/**
 * What a guest was refused, out of nft's set of it.
 *
 * @param json of `nft -j list set`, where each element is source, destination, protocol and port
 * Source: libnftables-json(5)
 */
export function parseRefused(json: string, address: string, nowMs: number): Refusal[] {
  const { nftables } = JSON.parse(json) as { nftables?: readonly { set?: { elem?: readonly unknown[] } }[] };
  const elements = nftables?.flatMap(({ set }) => set?.elem ?? []) ?? [];
  return elements.flatMap((element) => {
    const { elem } = element as {
      elem?: { val?: { concat?: unknown[] }; expires?: unknown; counter?: unknown };
    };
    const [source, target, protocol, port] = elem?.val?.concat ?? [];
    if (source !== address || typeof target !== "string" || typeof port !== "number") return [];
    const packets = (elem?.counter as { packets?: unknown } | undefined)?.packets;
    const ageSeconds = SET_TIMEOUT_SECONDS -
      (typeof elem?.expires === "number" ? elem.expires : SET_TIMEOUT_SECONDS);
    return [{
      protocol: protocol === "udp" || protocol === 17 ? "udp" as const : "tcp" as const,
      target,
      port,
      why: "not allowed by the VM's network policy",
      count: typeof packets === "number" ? packets : 1,
      lastAtMs: nowMs - ageSeconds * 1000,
    }];
  }).sort((a, b) => b.lastAtMs - a.lastAtMs);
}
