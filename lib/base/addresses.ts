/** Where VMs are: addresses that derive from a VM's number, so that no two VMs have the same. */
import { ipv4Number, ipv4Text } from "./net_rules.ts";

/** Of bridge mode. */
export const BRIDGE_NETWORK = { address: "10.69.0.0", prefixLength: 16, gateway: "10.69.0.1" } as const;

/** The VM's loopback address, in 127.42.0.0/16. @param number 1 to 65,000 */
export function loopbackAddress(number: number): string {
  return `127.42.${number >> 8}.${number & 255}`;
}

/** The VM's address on the bridge, behind the gateway's. @param number 1 to 65,000 */
export function bridgeAddress(number: number): string {
  return ipv4Text(ipv4Number(BRIDGE_NETWORK.gateway) + number);
}
