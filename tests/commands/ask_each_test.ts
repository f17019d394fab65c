import { assertEquals, assertRejects } from "@std/assert";
import { askOfEach } from "../../src/commands/ask_each.ts";
import { CouchError } from "../../src/errors.ts";

const DATABASES = Array.from({ length: 30 }, (_, index) => `db${index}`);

/** Asks about each, one after the other: CouchDB answers with the status, 0 stands for no answer. */
async function ask(statusOf: (index: number) => number): Promise<{ warnings: string[]; asked: number }> {
  let asked = 0;
  const warnings = await askOfEach(DATABASES, (database) => {
    const status = statusOf(asked++);
    if (status === 200) return Promise.resolve();
    const error = status === 0 ? "unreachable" : status === 404 ? "not_found" : "e";
    const facts = { ...status === 0 ? {} : { status }, error, database };
    return Promise.reject(new CouchError(`CouchDB answered ${status}`, facts));
  }, { unknown: "the size of", limit: 1 });
  return { warnings, asked };
}

Deno.test("askOfEach() names five databases that it learns nothing of, counts the others, and passes over deleted ones", async () => {
  const { warnings, asked } = await ask((index) => index % 3 === 0 ? 400 : index % 3 === 1 ? 404 : 200);
  assertEquals(asked, 30);
  assertEquals(warnings.map((warning) => warning.split(":")[0]), [
    ...["db0", "db3", "db6", "db9", "db12"].map((database) => `the size of database "${database}" is not known`),
    "nor is the size of 5 other databases",
  ]);
});

Deno.test("askOfEach() ends where CouchDB does not answer ten times in a row", async () => {
  await assertRejects(() => ask((index) => index < 5 ? 200 : 503), CouchError);
});

Deno.test("askOfEach() goes on where CouchDB answers at all in between, also that there is no such database", async () => {
  for (const answer of [200, 404, 400]) {
    const { asked, warnings } = await ask((index) => index % 2 === 0 ? 503 : answer);
    assertEquals([asked, warnings.length], [30, 6], String(answer));
  }
});
