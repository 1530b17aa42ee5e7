import { type Architecture, ARCHITECTURES } from "../base/architecture.ts";
import type { Severity } from "../base/finding.ts";
import { FIRECRACKER_PROGRAM } from "../vmm/firecracker/driver.ts";
import type { Diagnosis, DoctorWorld } from "./diagnosis.ts";

const VERSION_TIMEOUT_MS = 5000;

interface Tool {
  readonly program: string;
  readonly versionArguments: readonly string[];
  /** Where it is missing. */
  readonly severity: Severity;
  readonly meaning: string;
  readonly remedy: string;
}

function qemuOf(architecture: Architecture): Tool {
  const { qemu } = ARCHITECTURES[architecture];
  return {
    program: qemu.program,
    versionArguments: ["--version"],
    severity: "error",
    meaning: "no VM can run without it, but for Firecracker where KVM works",
    remedy: `sudo apt-get install ${qemu.package} (Debian, Ubuntu), or your distribution's package`,
  };
}

const TOOLS: readonly Tool[] = [
  {
    program: FIRECRACKER_PROGRAM,
    versionArguments: ["--version"],
    severity: "note",
    meaning: "QEMU is used; Firecracker starts faster where KVM works",
    remedy: "put a firecracker of 1.14.4 or newer on PATH",
  },
  {
    program: "git",
    versionArguments: ["--version"],
    severity: "warning",
    meaning: "repositories cannot be taken into VMs",
    remedy: "sudo apt-get install git",
  },
  {
    program: "ssh",
    versionArguments: ["-V"],
    severity: "warning",
    meaning: "banger vm ssh does not work; vm exec does",
    remedy: "sudo apt-get install openssh-client",
  },
  {
    program: "apt-get",
    versionArguments: ["--version"],
    severity: "note",
    meaning: "Debian's kernel cannot be fetched by apt here",
    remedy: "import one: banger kernel import NAME --deb FILE",
  },
  {
    program: "mmdebstrap",
    versionArguments: ["--version"],
    severity: "note",
    meaning: "recipe images (debian-bookworm from packages) cannot be made; container images can",
    remedy: "sudo apt-get install mmdebstrap",
  },
];

/** The programs of others that banger runs. */
export const TOOL_CHECKS = { tools: checkTools } as const;

async function checkTools(world: DoctorWorld): Promise<Diagnosis[]> {
  const tools = [qemuOf(world.host.processes.architecture), ...TOOLS];
  return await Promise.all(tools.map((tool) => checkTool(world, tool)));
}

async function checkTool({ host }: DoctorWorld, tool: Tool): Promise<Diagnosis> {
  const path = await host.processes.which(tool.program);
  if (!path) {
    const { severity, meaning, remedy } = tool;
    return { check: tool.program, severity, found: "not installed", meaning, remedy };
  }
  const { code, stdout, stderr } = await host.processes.run(
    { program: path, args: tool.versionArguments },
    { timeoutMs: VERSION_TIMEOUT_MS },
  );
  const line = (stdout + stderr).split("\n").find((text) => text.trim() !== "")?.trim() ?? "";
  if (code === 0) return { check: tool.program, severity: "ok", found: line === "" ? path : line };
  return {
    check: tool.program,
    severity: tool.severity,
    found: `${path} does not run: ${line === "" ? `exit code ${code}` : line}`,
    meaning: tool.meaning,
    remedy: "install it again",
  };
}
