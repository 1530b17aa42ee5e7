import { BangerError } from "../base/errors.ts";
import type { Host } from "../base/host.ts";
import { AgentClient } from "../guest/client/agent_client.ts";
import type { GuestProbe } from "../vm/guest_probe.ts";

/**
 * A request waits in the relay, then in the guest, until the agent may serve: one that was cut and asked again would be
 * work for a guest that boots. It is, for the case that it got lost.
 */
const PROBE_TIMEOUT_MS = 20_000;

export function guestProbe(host: Pick<Host, "sockets" | "clock">): GuestProbe {
  return {
    async isUp(endpoint, signal) {
      try {
        await new AgentClient(host, endpoint).health(PROBE_TIMEOUT_MS, signal);
        return true;
      } catch (thrown) {
        if (signal.aborted) return false;
        if (thrown instanceof BangerError && thrown.code === "guest_unreachable") return false;
        throw thrown;
      }
    },
    growWorkDisk: (endpoint, diskBytes) => new AgentClient(host, endpoint).growWorkDisk(diskBytes),
    powerOff: (endpoint) => new AgentClient(host, endpoint).powerOff(),
  };
}
