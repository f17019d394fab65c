import { assert, assertEquals } from "@std/assert";
import { StateSums } from "../../src/commands/state_sums.ts";

Deno.test("StateSums: of groups with the same states in any order nothing is left, of others something is", () => {
  for (const documents of [undefined, 0, 10, 50_000, 100_000_000]) {
    const sums = new StateSums(documents);
    const ids = Array.from({ length: 20_000 }, (_, number) => `order-${number}`);
    for (const id of ids) sums.add(id, `${id} 1-a`);
    assert(sums.differing > 0);
    for (const id of ids.toReversed()) sums.subtract(id, `${id} 1-a`);
    assertEquals([sums.differing, sums.documents, sums.differs("order-7")], [0, 0, false]);
    sums.subtract("order-7", "order-7 2-b");
    assertEquals([sums.differing, sums.differs("order-7")], [1, true]);
    sums.add("order-7", "order-7 2-b");
    // The same twice is not the same as never.
    for (let twice = 0; twice < 2; twice++) sums.add("x", "x 1-a");
    assertEquals([sums.differing, sums.differs("x")], [1, true]);
    for (let twice = 0; twice < 2; twice++) sums.subtract("x", "x 1-a");
    // Two ids have changed places.
    sums.add("a", "a 1-a");
    sums.subtract("b", "b 1-a");
    assert(sums.differing > 0);
  }
});

Deno.test("StateSums spreads ids evenly over its groups, so that few documents stand for one that has changed", () => {
  const sums = new StateSums(100_000);
  const ids = Array.from({ length: 100_000 }, (_, number) => `doc-${String(number).padStart(9, "0")}`);
  for (const id of ids) sums.add(id, id);
  for (const id of ids) if (id !== "doc-000000042") sums.subtract(id, id);
  assertEquals(sums.differing, 1);
  const beside = ids.filter((id) => sums.differs(id)).length;
  assert(beside < 40, `${beside} documents are in one group`);
});
