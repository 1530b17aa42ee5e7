import type { Services } from "../api/services.ts";
import type { VmHealthView, VmStatsView } from "../api/vm_contract.ts";
import { reasonOf } from "../base/errors.ts";
import { AgentClient } from "../guest/client/agent_client.ts";
import { vmPaths } from "../store/paths.ts";
import type { Vm } from "../store/records.ts";
import type { Booted } from "../vm/boot.ts";
import { followConsole } from "../vm/console_follow.ts";
import type { ServiceParts } from "./services.ts";

/** A guest that works answers well within this, emulated ones too. */
const ANSWER_TIMEOUT_MS = 5000;

/** A look at running VMs: none of it changes anything, and none waits for long. */
export function vmLookServices(parts: ServiceParts): Services["vmLooks"] {
  const { host, paths, store, vms } = parts;
  return {
    async stats(nameOrId) {
      const vm = store.vms.get(nameOrId);
      return await statsOf(parts, vm, vms.running.get(vm.id));
    },
    async health(nameOrId) {
      const vm = store.vms.get(nameOrId);
      return await healthOf(parts, vm, vms.running.get(vm.id));
    },
    followConsole(nameOrId) {
      const { id } = store.vms.get(nameOrId);
      const ended = new AbortController();
      const isOver = () => {
        const state = store.vms.find(id)?.state;
        return state !== "running" && state !== "starting" && state !== "stopping" && state !== "creating";
      };
      const chunks = followConsole(host, vmPaths(paths, id).consoleLog, isOver, ended.signal);
      return new ReadableStream({
        async pull(controller) {
          const { value, done } = await chunks.next();
          if (done) controller.close();
          else controller.enqueue(value);
        },
        async cancel() {
          ended.abort();
          await chunks.return(undefined); // closes the log, whether it was being read or not
        },
      });
    },
  };
}

async function statsOf(
  { host, diskUsage }: ServiceParts,
  vm: Vm,
  booted: Booted | undefined,
): Promise<VmStatsView> {
  const diskUsedBytes = await diskUsage.usedBytes(vm);
  const { name, state, spec } = vm;
  const basis = {
    name,
    state,
    cpus: vm.startedWith?.cpus ?? spec.cpus,
    memoryMib: vm.startedWith?.memoryMib ?? spec.memoryMib,
    diskUsedBytes,
  };
  if (!booted) return { ...basis, atMs: host.clock.monotonicMs() };
  const { machine } = booted;
  const asked = new AgentClient(host, machine.endpoint).stats(ANSWER_TIMEOUT_MS);
  const [guest, memoryUsedBytes] = await Promise.all([
    asked.then(
      (guest) => ({ guest: { ...guest, load: [...guest.load], filesystems: [...guest.filesystems] } }),
      (thrown) => ({
        guestProblem: reasonOf(thrown),
      }),
    ),
    host.processes.memoryBytes(machine.record.process),
  ]);
  // Last, and beside each other: the time is of this number.
  const cpuTimeMs = await machine.cpuTimeMs();
  return {
    ...basis,
    atMs: host.clock.monotonicMs(),
    ...(cpuTimeMs === undefined ? {} : { cpuTimeMs }),
    ...(memoryUsedBytes === undefined ? {} : { memoryUsedBytes }),
    ...guest,
  };
}

async function healthOf(
  { host, build }: ServiceParts,
  vm: Vm,
  booted: Booted | undefined,
): Promise<VmHealthView> {
  const { name, state } = vm;
  if (!booted) {
    return { name, state, isHealthy: false, problem: vm.brokenReason ?? `it is ${state}` };
  }
  const { driver, process } = booted.machine.record;
  const [status, agent] = await Promise.all([
    booted.machine.status().catch((thrown) => ({ problem: reasonOf(thrown) })),
    askAgent(host, booted).catch((thrown) => ({ problem: reasonOf(thrown) })),
  ]);
  const vmm = { driver, status: typeof status === "string" ? status : "unknown", pid: process.pid };
  const problem = typeof status !== "string"
    ? status.problem
    : status !== "running"
    ? `the machine is ${status}`
    : "problem" in agent
    ? agent.problem
    : undefined;
  return {
    name,
    state,
    isHealthy: problem === undefined,
    ...(problem === undefined ? {} : { problem }),
    vmm,
    ...("problem" in agent ? {} : {
      agent: { ...agent, isOurs: agent.version === build.version && agent.commit === build.commit },
    }),
  };
}

async function askAgent(host: ServiceParts["host"], { machine }: Booted) {
  const startedAtMs = host.clock.monotonicMs();
  const { version, commit, bootId, uptimeSeconds } = await new AgentClient(host, machine.endpoint)
    .health(ANSWER_TIMEOUT_MS);
  const answeredWithinMs = Math.round(host.clock.monotonicMs() - startedAtMs);
  return { version, commit, bootId, uptimeSeconds, answeredWithinMs };
}
