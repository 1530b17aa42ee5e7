/** A guest's work in words. All names in it are the guest's: quoted. */
import { quote } from "../base/names.ts";
import { displayText } from "../base/tree.ts";
import { quoteBytes } from "../base/tree_paths.ts";
import type { Review } from "../workspace/review.ts";
import { ASKED_KINDS, type Risk, type RiskKind } from "../workspace/risks.ts";
import { visible } from "./output.ts";

/** Of each kind of risk; the rest is counted. */
const SHOWN_RISKS = 8;

const TITLES: Readonly<Record<RiskKind, string>> = {
  "runs": "could run on the host",
  "leaves the tree": "lead out of the tree",
  "git settings": "change what git does",
  "secret": "may hold secrets",
  "repository": "are other repositories, which a patch does not carry",
  "mode": "have another mode",
  "binary": "are binary",
  "name": "have odd names",
};

/** Whether there is something in it that is asked about before it lands. */
export function isAsked({ risks }: Review): boolean {
  return risks.some(({ kind }) => ASKED_KINDS.includes(kind));
}

/** The files, one a line, then what else there is to know. */
export function reviewAsText(review: Review): string {
  return [...summaryOf(review), ...riskLines(review)].map((line) => line.replace(/^banger: /, "")).join("\n");
}

export function summaryOf({ changes, commits, work, nested, submodules }: Review): string[] {
  const lines = changes.map(({ status, path, lines }) => {
    const counts = lines ? `+${lines.added} -${lines.removed}` : "binary";
    return `  ${status} ${quotedIfOdd(displayText(path))}  ${counts}`;
  });
  const plural = changes.length === 1 ? "" : "s";
  const head = [
    `banger: ${changes.length} file${plural} changed since ${work.record.sentAt}, ${commits} commit${
      commits === 1 ? "" : "s"
    } made`,
  ];
  const left = nested.map((path) =>
    `banger: stays in the VM, since it is a repository of its own: ${quoteBytes(path)}`
  );
  const inside = submodules.map((path) =>
    `banger: work in the submodule ${quote(path)} is not in the patch: push it from the VM, or copy it out`
  );
  return [...head, ...lines, ...left, ...inside];
}

function quotedIfOdd(path: string): string {
  return visible(path) === path && !/["\\]|^\s|\s$/.test(path) ? path : JSON.stringify(visible(path));
}

export function riskLines({ risks }: Review): string[] {
  const byKind = new Map<RiskKind, Risk[]>();
  for (const risk of risks) byKind.set(risk.kind, [...(byKind.get(risk.kind) ?? []), risk]);
  return (Object.keys(TITLES) as RiskKind[]).flatMap((kind) => {
    const of = byKind.get(kind);
    if (!of) return [];
    const more = of.length - SHOWN_RISKS;
    return [
      `banger: look before you use them: ${of.length} of the files ${TITLES[kind]}`,
      ...of.slice(0, SHOWN_RISKS).map(({ path, why }) => `  ${quoteBytes(path)}: ${visible(why)}`),
      ...(more > 0 ? [`  and ${more} more`] : []),
    ];
  });
}

export function reviewAsJson({ changes, commits, risks, nested, submodules, work, isSafe }: Review) {
  const { record, head, branch } = work;
  return {
    repository: record.top,
    sentAt: record.sentAt,
    headOutside: record.head,
    head,
    branch,
    commits,
    /** Nothing was done, or all of it has been taken out. */
    isExported: isSafe,
    changes: changes.map(({ path, status, lines }) => ({ path: displayText(path), status, ...lines })),
    nested: nested.map(displayText),
    submodules,
    risks: risks.map(({ kind, path, why }) => ({ kind, path: displayText(path), why })),
  };
}
