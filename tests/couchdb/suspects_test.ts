import { assertEquals } from "@std/assert";
import { PackedRow, packRow } from "../../src/couchdb/packed_row.ts";
import { type Suspect, Suspects } from "../../src/couchdb/suspects.ts";

const ERROR = { error: "timeout", reason: "The request could not be processed" };

/** Suspects of which every thousandth lacks a revision, and one in the middle went out already. */
function many(count: number): Suspect[] {
  return Array.from({ length: count }, (_, n) => {
    const document = { id: `d${n}`, revs: [`1-${String(n).padStart(8, "0")}`] };
    if (n === 2500) return { document, missing: ["1-a"], isOut: true };
    return n % 1000 === 999 ? { document, missing: ["1-a"] } : { document, error: ERROR };
  });
}

for (const count of [0, 1, 1000, 1001, 1512, 5000]) {
  Deno.test(`Suspects gives back all of ${count}, with what their rows lacked, in parts that are not too large`, () => {
    const given = many(count);
    const suspects = new Suspects();
    for (const suspect of given) suspects.add(suspect);
    assertEquals(suspects.count, count);
    for (const most of [8, 512, Infinity]) {
      const parts = [...suspects.parts(most)];
      assertEquals(parts.filter((part) => part.length > most || part.length === 0), []);
      const found = new Map(parts.flat().map((suspect) => [suspect.document.id, suspect]));
      assertEquals([found.size, parts.flat().length], [count, count]);
      for (const { document: { id, revs }, missing, isOut } of given) {
        const { document, ...rest } = found.get(id)!;
        assertEquals([document.revs, rest.missing, rest.isOut], [revs, missing, isOut]);
      }
    }
    assertEquals(
      [...suspects.all()].map(({ document: { id } }) => id).sort(),
      given.map((one) => one.document.id).sort(),
    );
  });
}

Deno.test("Suspects keeps few as they are, with their errors", () => {
  const given = many(1000);
  const suspects = new Suspects();
  for (const suspect of given) suspects.add(suspect);
  assertEquals([...suspects.all()], given);
});

Deno.test("Suspects keeps no more of a row than its own texts", () => {
  const suspects = new Suspects();
  const text = new TextEncoder().encode("an-id1-a");
  suspects.add({ document: packRow(text, 0, 5, 5, 8)! });
  const [{ document }] = [...suspects.all()] as [Suspect];
  assertEquals([document instanceof PackedRow, document], [false, { id: "an-id", revs: ["1-a"] }]);
});
