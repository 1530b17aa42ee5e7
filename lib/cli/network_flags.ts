import type { CreateVm } from "../api/contract.ts";
import { parseNetRule, parsePublish } from "../base/net_rules.ts";
import { type Input, listOption, type Option } from "./command.ts";

/** Flags of `vm create`, `vm run` and `vm network`. */
export const NETWORK_OPTIONS: readonly Option[] = [
  {
    flags: "-p, --publish <port>",
    summary: "[ADDRESS:]PORT[:GUEST PORT]: a fixed port on the host; may be repeated",
    repeated: true,
  },
  { flags: "--no-forward", summary: "do not forward what listens in the VM; published ports only" },
  {
    flags: "--allow-net <host>",
    summary: "HOST[:PORT] that it may reach, and nothing else that is not named; may be repeated",
    repeated: true,
  },
  { flags: "--deny-net", summary: "it may reach nothing that --allow-net does not name" },
];

/**
 * The flags as fields of a request; what was not said is not there.
 *
 * @throws {BangerError} `invalid_argument` for what is no port and no host
 */
export function networkRequest(input: Input): Pick<CreateVm, "publish" | "forward" | "allowNet"> {
  const publish = [...listOption(input, "publish")];
  publish.forEach(parsePublish);
  const allow = [...listOption(input, "allowNet")];
  allow.forEach(parseNetRule);
  return {
    ...(publish.length > 0 ? { publish } : {}),
    ...(input.options.forward === false ? { forward: false } : {}),
    ...(allow.length > 0 || input.options.denyNet === true ? { allowNet: allow } : {}),
  };
}
