import { BangerError } from "../base/errors.ts";
import type { ProcessIdentity } from "../base/host.ts";
import type {
  Acceleration,
  AgentEndpoint,
  DriverName,
  MachineJail,
  MachineNamespace,
  MachineRecord,
} from "./driver.ts";

/**
 * A machine record as read back from disk or database.
 *
 * @param value untrusted JSON value
 * @throws {BangerError} `state_broken`
 */
export function parseMachineRecord(value: unknown): MachineRecord {
  const fields = object(value, "it is no object");
  const { driver, helpers } = fields;
  if (driver !== "qemu" && driver !== "firecracker") throw broken("driver");
  if (!Array.isArray(helpers)) throw broken("helpers");
  return {
    driver: driver satisfies DriverName,
    machineId: text(fields, "machineId"),
    process: parseIdentity(fields.process),
    helpers: helpers.map(parseIdentity),
    controlSocket: path(fields, "controlSocket"),
    runtimeDirectory: path(fields, "runtimeDirectory"),
    endpoint: parseEndpoint(fields.endpoint),
    acceleration: parseAcceleration(fields.acceleration),
    ...(fields.namespace === undefined ? {} : { namespace: parseNamespace(fields.namespace) }),
    ...(fields.jail === undefined ? {} : { jail: parseJail(fields.jail) }),
  };
}

function parseIdentity(value: unknown): ProcessIdentity {
  const fields = object(value, "process");
  return {
    pid: integer(fields, "pid", 1),
    startTimeTicks: integer(fields, "startTimeTicks", 0),
    bootId: text(fields, "bootId"),
    executable: path(fields, "executable"),
  };
}

function parseEndpoint(value: unknown): AgentEndpoint {
  const fields = object(value, "endpoint");
  if (fields.kind === "hybrid") return { kind: "hybrid", path: path(fields, "path") };
  if (fields.kind === "vsock") return { kind: "vsock", cid: integer(fields, "cid", 3) };
  throw broken("endpoint");
}

function parseAcceleration(value: unknown): Acceleration {
  const fields = object(value, "acceleration");
  if (fields.kind !== "kvm" && fields.kind !== "tcg") throw broken("acceleration");
  return { kind: fields.kind, why: text(fields, "why") };
}

function parseNamespace(value: unknown): MachineNamespace {
  const fields = object(value, "namespace");
  const { hasUserNamespace } = fields;
  if (typeof hasUserNamespace !== "boolean") throw broken("namespace");
  return { card: text(fields, "card"), hasUserNamespace };
}

function parseJail(value: unknown): MachineJail {
  const fields = object(value, "jail");
  return {
    directory: path(fields, "directory"),
    root: path(fields, "root"),
    ...(fields.cgroup === undefined ? {} : { cgroup: path(fields, "cgroup") }),
  };
}

type Fields = Readonly<Record<string, unknown>>;

function object(value: unknown, what: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw broken(what);
  return value as Fields;
}

function text(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value !== "string" || value.length > 4096) throw broken(name);
  return value;
}

function path(fields: Fields, name: string): string {
  const value = text(fields, name);
  if (!value.startsWith("/") || value.includes("\0")) throw broken(name);
  return value;
}

function integer(fields: Fields, name: string, minimum: number): number {
  const value = fields[name];
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < minimum) throw broken(name);
  return value;
}

function broken(field: string): BangerError {
  return new BangerError(
    "state_broken",
    `Cannot read a machine's record: ${field} is not as banger writes it`,
    "Look for the machine's process by hand; the VM's disks are untouched",
  );
}
