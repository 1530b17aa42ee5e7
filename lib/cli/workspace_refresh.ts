import { BangerError } from "../base/errors.ts";
import type { StartInGuest } from "../workspace/guest.ts";
import type { Review } from "../workspace/review.ts";
import type { Workspaces } from "../workspace/workspaces.ts";
import { reviewAsText } from "./review_text.ts";

/**
 * Whether sending a repository again would lose work.
 *
 * @returns the refusal that says what would be lost; undefined where nothing would
 */
export async function refreshRefusal(
  workspaces: Workspaces,
  vm: { readonly id: string; readonly name: string },
  start: StartInGuest,
): Promise<BangerError | undefined> {
  if (!(await workspaces.findRecord(vm.id))) return undefined;
  let review: Review;
  try {
    review = await workspaces.review(vm, start);
  } catch (thrown) {
    if (!(thrown instanceof BangerError)) throw thrown;
    // Gone, or never all there: nothing of it can be lost.
    if (thrown.code === "not_found" || thrown.code === "wrong_state") return undefined;
    throw thrown;
  }
  await using _work = review.work;
  if (review.isSafe) return undefined;
  return new BangerError(
    "wrong_state",
    `Cannot send the repository again: work in VM ${vm.name} would be lost:\n${reviewAsText(review)}`,
    `Take it out first: banger vm workspace export ${vm.name} --apply; or give it up: ` +
      `banger vm workspace prepare ${vm.name} --discard`,
  );
}
