import assert from "node:assert/strict";

/** Each spends most of its time waiting for git. */
const AT_ONCE = 4;

/** One test of many cases that run side by side; it fails with the names of those that did. */
export function testCases<T>(
  name: string,
  table: Readonly<Record<string, T>>,
  act: (value: T, name: string) => Promise<void>,
): void {
  Deno.test(`${name} (${Object.keys(table).length} cases)`, async () => {
    const failures: string[] = [];
    const pending = Object.entries(table);
    const work = async () => {
      for (let next = pending.shift(); next; next = pending.shift()) {
        const [label, value] = next;
        try {
          await act(value, label);
        } catch (thrown) {
          failures.push(`${label}: ${thrown instanceof Error ? thrown.message : thrown}`);
        }
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    assert.deepEqual(failures, []);
  });
}
