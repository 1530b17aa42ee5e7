/**
 * Plays Firecracker's API: every request is checked against the official description, the documented order is
 * enforced, the documented errors are answered. Runs no guest.
 *
 * deno run -A fake_firecracker.ts --api-sock PATH --id ID [--jail-root DIRECTORY]
 *
 * What was asked is appended to `<api-sock>.requests`, one JSON object a line. `<api-sock>.play` can hold JSON:
 * `version`; `faults`, by "METHOD /path", each a message; `silent`, requests that are never answered.
 */
import { parseArgs } from "node:util";
import { ApiDescription } from "../../unit/vmm/firecracker_api.ts";

interface Play {
  readonly version?: string;
  readonly faults?: Readonly<Record<string, string>>;
  readonly silent?: readonly string[];
}

const AFTER_START = "The requested operation is not supported after starting the microVM.";
const BEFORE_START = "The requested operation is not supported before starting the microVM.";
const NO_KERNEL = "Start microvm error: Cannot start microvm without kernel configuration.";
/** Source: firecracker src/vmm/src/rpc_interface.rs, handle_preboot_request and handle_request */
const ANY_TIME = new Set(["GET /", "GET /version", "GET /machine-config", "GET /vm/config", "GET /balloon"]);
const PRE_BOOT =
  /^PUT \/(boot-source|cpu-config|drives|machine-config|network-interfaces|vsock|balloon|entropy|serial|logger|metrics|mmds)\b/;

class Fake {
  readonly #id: string;
  readonly #play: Play;
  /** Stands before every path: what a jailed Firecracker takes for `/`. */
  readonly #root: string;
  readonly #puts = new Set<string>();
  #state: "Not started" | "Running" | "Paused" = "Not started";
  #console: string | undefined;

  constructor(id: string, play: Play, root: string) {
    this.#root = root;
    this.#id = id;
    this.#play = play;
  }

  /** @returns a status, and a fault's message or a body */
  answer(operation: string, body: Record<string, unknown>): [number, unknown] {
    const fault = this.#play.faults?.[operation];
    if (fault !== undefined) return [400, { fault_message: fault }];
    const started = this.#state !== "Not started";
    if (operation === "PUT /actions") return this.#act(String(body.action_type), started);
    if (ANY_TIME.has(operation)) return [200, this.#read(operation)];
    if (PRE_BOOT.test(operation)) {
      if (started) return [400, { fault_message: AFTER_START }];
      return this.#put(operation, body);
    }
    if (!started) return [400, { fault_message: BEFORE_START }];
    return this.#change(operation, body);
  }

  #act(action: string, started: boolean): [number, unknown] {
    if (action !== "InstanceStart") {
      return started ? [204, undefined] : [400, { fault_message: BEFORE_START }];
    }
    if (started) return [400, { fault_message: AFTER_START }];
    if (!this.#puts.has("PUT /boot-source")) return [400, { fault_message: NO_KERNEL }];
    this.#state = "Running";
    // What banger's initramfs prints first.
    if (this.#console) Deno.writeTextFileSync(this.#console, "banger-init: start\r\n", { append: true });
    return [204, undefined];
  }

  #read(operation: string): unknown {
    const version = this.#play.version ?? "1.16.1";
    if (operation === "GET /version") return { firecracker_version: version };
    return { app_name: "Firecracker", id: this.#id, state: this.#state, vmm_version: version };
  }

  #put(operation: string, body: Record<string, unknown>): [number, unknown] {
    if (operation === "PUT /metrics" && this.#puts.has(operation)) {
      return [400, { fault_message: "Metrics error: Cannot initialize metrics: already initialized" }];
    }
    // Firecracker opens these at once.
    for (
      const key of ["path_on_host", "kernel_image_path", "initrd_path", "serial_out_path", "metrics_path"]
    ) {
      const path = body[key];
      if (typeof path === "string" && !exists(`${this.#root}${path}`)) {
        return [400, { fault_message: `${path}: No such file or directory (os error 2)` }];
      }
    }
    this.#puts.add(operation);
    if (operation === "PUT /serial") this.#console = `${this.#root}${body.serial_out_path}`;
    return [204, undefined];
  }

  #change(operation: string, body: Record<string, unknown>): [number, unknown] {
    if (operation === "PATCH /vm") {
      this.#state = body.state === "Paused" ? "Paused" : "Running";
      return [204, undefined];
    }
    if (operation.startsWith("PATCH /drives/")) {
      if (this.#puts.has(operation.replace("PATCH", "PUT"))) return [204, undefined];
      return [400, { fault_message: "Unable to patch the block device: Invalid block device ID!" }];
    }
    if (/^(PATCH|GET) \/balloon/.test(operation) && !this.#puts.has("PUT /balloon")) {
      return [400, { fault_message: "Unable to find the balloon device." }];
    }
    if (operation === "PATCH /balloon") return [204, undefined];
    if (operation === "GET /balloon/statistics") {
      return [200, { target_pages: 256, actual_pages: 128, target_mib: 1, actual_mib: 0, free_memory: 4096 }];
    }
    return [400, { fault_message: "Invalid request method and/or path" }];
  }
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch (thrown) {
    if (thrown instanceof Deno.errors.NotFound) return false;
    throw thrown;
  }
}

async function main(): Promise<void> {
  const string = { type: "string" } as const;
  const { values } = parseArgs({ options: { "api-sock": string, id: string, "jail-root": string } });
  const root = values["jail-root"] ?? "";
  const socket = `${root}${values["api-sock"]}`;
  const play: Play = exists(`${socket}.play`) ? JSON.parse(await Deno.readTextFile(`${socket}.play`)) : {};
  const description = await ApiDescription.read();
  const fake = new Fake(values.id!, play, root);
  Deno.serve({ path: socket, onListen: () => {} }, async (request) => {
    const { pathname } = new URL(request.url);
    const operation = `${request.method} ${pathname}`;
    const text = await request.text();
    const body = text === "" ? undefined : JSON.parse(text);
    const problems = description.checkRequest(request.method, pathname, body);
    await Deno.writeTextFile(
      `${socket}.requests`,
      `${JSON.stringify({ operation, body, problems })}\n`,
      { append: true },
    );
    if (play.silent?.includes(operation)) return await new Promise<Response>(() => {});
    const [status, answer] = problems.length > 0
      ? [400, { fault_message: problems.join("; ") }]
      : fake.answer(operation, body ?? {});
    const wrong = description.checkAnswer(request.method, pathname, status, answer);
    if (wrong.length > 0) throw new Error(`the fake answers what Firecracker would not: ${wrong.join("; ")}`);
    return new Response(answer === undefined ? null : JSON.stringify(answer), {
      status,
      headers: { server: "Firecracker API", "content-type": "application/json" },
    });
  });
}

if (import.meta.main) await main();
