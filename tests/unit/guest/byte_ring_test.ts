import { deepEqual, equal } from "node:assert/strict";
import { ByteRing } from "../../../lib/guest/wire/byte_ring.ts";
import { randomBytes, seededRandom } from "./memory_connection.ts";

Deno.test("ByteRing gives back what it took, in order, and never takes more than its cap", () => {
  for (let seed = 0; seed < 20; seed++) {
    const random = seededRandom(seed);
    const ring = new ByteRing(10_000);
    const model: number[] = [];
    for (let step = 0; step < 500; step++) {
      if (random() < 0.5) {
        const bytes = randomBytes(random, Math.floor(random() * 3000));
        const fits = model.length + bytes.length <= 10_000;
        equal(ring.push(bytes), fits);
        if (fits) model.push(...bytes);
      } else {
        const into = new Uint8Array(Math.floor(random() * 3000));
        const count = ring.shift(into);
        deepEqual([...into.subarray(0, count)], model.splice(0, into.length));
      }
      equal(ring.length, model.length);
      equal(ring.freeBytes, 10_000 - model.length);
    }
    ring.clear();
    equal(ring.length, 0);
  }
});
