import { displayText } from "../base/tree.ts";
import { formatBytes } from "../base/units.ts";
import type { Plan } from "../workspace/plan.ts";
import type { ToolPin } from "../workspace/tools.ts";
import { fields } from "./output.ts";
import { namesOf } from "./workspace.ts";

/** What `--plan` shows: what would be sent, and nothing is. */
export function planText(plan: Plan, tools: readonly ToolPin[]): string {
  const { repository, request, survey, submodules, isCopy } = plan;
  const { present, absent, secrets, nested } = survey;
  const bytes = present.reduce((sum, { stat }) => sum + stat.sizeBytes, 0);
  const untracked = present.filter(({ isTracked }) => !isTracked).length;
  const outside = repository.headRef === undefined ? "detached" : displayText(repository.headRef);
  const named = outside.replace(/^refs\/heads\//, "");
  return fields([
    [isCopy ? "Directory" : "Repository", repository.top],
    ["Commit", repository.head ?? (isCopy ? undefined : "none yet")],
    ["Branch", isCopy ? undefined : request.branch ?? named],
    ["History", isCopy ? undefined : request.full ? "all of it" : "the last 10 commits"],
    ["Files", `${present.length}, ${formatBytes(bytes)}; ${untracked} of them untracked`],
    ["Deleted", absent.length === 0 ? undefined : namesOf(absent)],
    [
      "Submodules",
      submodules.found.length === 0 ? undefined : namesOf(submodules.found.map(({ prefix }) => prefix)),
    ],
    ["Left out", nested.length === 0 ? undefined : `${namesOf(nested)}: repositories of their own`],
    ["Secrets", secrets.length === 0 ? undefined : `${namesOf(secrets)}: left out, unless --include-secrets`],
    ["To", "/root/repo, owned by root"],
    ["Tools", tools.length === 0 ? "none named" : toolsText(tools)],
  ]);
}

/** `go 1.22 (go.mod), node 20 (.nvmrc)` */
export function toolsText(tools: readonly ToolPin[]): string {
  return tools.map(({ tool, version, source }) => `${tool} ${version} (${source})`).join(", ");
}
