import { BangerError } from "../base/errors.ts";
import type { Host } from "../base/host.ts";
import { AgentClient } from "../guest/client/agent_client.ts";
import type { GuestProbe } from "../vm/guest_probe.ts";

/** A guest that boots does not answer at all; one that is up answers well within this, emulated ones too. */
const PROBE_TIMEOUT_MS = 2000;

export function guestProbe(host: Pick<Host, "sockets" | "clock">): GuestProbe {
  return {
    async isUp(endpoint) {
      try {
        await new AgentClient(host, endpoint).health(PROBE_TIMEOUT_MS);
        return true;
      } catch (thrown) {
        if (thrown instanceof BangerError && thrown.code === "guest_unreachable") return false;
        throw thrown;
      }
    },
    growWorkDisk: (endpoint, diskBytes) => new AgentClient(host, endpoint).growWorkDisk(diskBytes),
    powerOff: (endpoint) => new AgentClient(host, endpoint).powerOff(),
  };
}
