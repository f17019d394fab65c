import { assertEquals } from "@std/assert";
import { IdFilter } from "../../src/couchdb/id_filter.ts";

const COUNT = 200_000;

/** Ids as applications make them. */
const SHAPES: readonly [name: string, id: (index: number) => string][] = [
  ["numbers", (index) => String(index)],
  ["padded numbers", (index) => `order-${String(index).padStart(9, "0")}`],
  ["CouchDB's own", (index) => `${"0".repeat(26)}${(index * 7).toString(16).padStart(6, "0")}`],
  ["long ones with the same beginning", (index) => `${"x".repeat(500)}${index}`],
  ["not ASCII", (index) => `документ ${index} \u{1F600}`],
];

Deno.test("IdFilter never takes a known id for a new one, and seldom a new one for a known one", () => {
  for (const [name, id] of SHAPES) {
    const filter = IdFilter.forIds(COUNT, 1);
    let errors = 0;
    for (let index = 0; index < COUNT; index++) if (!filter.add(id(index))) errors++;
    assertEquals(errors <= 2, true, `${name}: ${errors} of ${COUNT} new ids were taken for known ones`);
    assertEquals(filter.ids, COUNT - errors, name);
    for (let index = 0; index < COUNT; index++) assertEquals(filter.mayHave(id(index)), true, id(index));
    let foreign = 0;
    for (let index = COUNT; index < 2 * COUNT; index++) if (filter.mayHave(id(index))) foreign++;
    assertEquals(foreign <= 3, true, `${name}: ${foreign} of ${COUNT} foreign ids`);
    assertEquals(filter.add(id(0)), false, "an id is new once");
  }
});

Deno.test("IdFilter counts the ids of thousands of small databases without an error", () => {
  const errors: string[] = [];
  for (let salt = 0; salt < 6000; salt++) {
    const filter = IdFilter.forIds(100, salt);
    for (let index = 0; index < 100; index++) {
      const id = `order-${salt}-${index}`;
      if (!filter.add(id)) errors.push(id);
    }
  }
  // Each would be a database that is listed again, and a warning.
  assertEquals(errors, []);
});

Deno.test("IdFilter says how often it has probably erred where there are more ids than it is made for", () => {
  const filter = IdFilter.forIds(200, 3);
  let errors = 0;
  for (let index = 0; index < 4000; index++) if (!filter.add(`id-${index}`)) errors++;
  assertEquals(errors > 10, true, `${errors} errors: the test wants a filter that is too small`);
  const { expectedErrors } = filter;
  assertEquals(
    errors < 3 * expectedErrors + 20 && errors > expectedErrors / 3 - 20,
    true,
    `${errors}, ${expectedErrors}`,
  );
});

Deno.test("IdFilter.from() goes on with what bytes gave, in the same bytes or in a copy", () => {
  const filter = IdFilter.forIds(1000, 5);
  for (let index = 0; index < 1000; index++) filter.add(`id-${index}`);
  const { salt, hashes, ids } = filter;
  const again = IdFilter.from({ bytes: filter.bytes.slice(), salt, hashes, ids });
  assertEquals(again.ids, 1000);
  for (let index = 0; index < 1000; index++) assertEquals(again.add(`id-${index}`), false);
  assertEquals(again.add("another"), true);
  assertEquals(filter.mayHave("another"), false, "the bytes were a copy");
  const shifted = new Uint8Array(filter.bytes.length + 1);
  shifted.set(filter.bytes, 1);
  assertEquals(IdFilter.from({ bytes: shifted.subarray(1), salt, hashes, ids }).mayHave("id-7"), true);
});

Deno.test("IdFilter.folded() of a filter that is a part of other bytes is that part alone", () => {
  for (const count of [2000, 100]) {
    const filter = IdFilter.foldable(2000, 16);
    for (let index = 0; index < count; index++) filter.add(`id-${index}`);
    const { salt, hashes, ids } = filter;
    const whole = new Uint8Array(filter.bytes.length + 1024).fill(0xff);
    whole.set(filter.bytes, 1024);
    const folded = IdFilter.from({ bytes: whole.subarray(1024), salt, hashes, ids }).folded(16);
    assertEquals(folded.bytes, filter.folded(16).bytes);
    for (let index = 0; index < count; index++) assertEquals(folded.mayHave(`id-${index}`), true);
  }
});

Deno.test("IdFilter has the same hash for an id and for its bytes, where these are ASCII", () => {
  const filter = IdFilter.forIds(10, 7);
  for (const id of ["", "a", "order-000000001", " ~", "x".repeat(500)]) {
    const bytes = new TextEncoder().encode(`12${id}3`);
    const hash = filter.hash(id).slice();
    filter.hash("another");
    assertEquals(filter.hashAscii(bytes, 2, bytes.length - 1).slice(), hash, id);
  }
});
