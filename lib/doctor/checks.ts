import type { Check } from "./diagnosis.ts";
import { HOST_CHECKS } from "./host_checks.ts";
import { STATE_CHECKS } from "./state_checks.ts";
import { TOOL_CHECKS } from "./tool_checks.ts";

/** All of them, in the order in which they are shown. */
export const CHECKS: Readonly<Record<string, Check>> = { ...HOST_CHECKS, ...TOOL_CHECKS, ...STATE_CHECKS };
