/** What each copy says, put together: ranges, copies that do not answer, purges that some do not know of yet. */
import { assertEquals, assertRejects } from "@std/assert";
import { sumCopies } from "../../src/couchdb/copy_counts.ts";
import type { CopyInfo } from "../../src/couchdb/client.ts";
import { CouchError } from "../../src/errors.ts";

/** Of each range what the copies on nodes 0, 1, … say: live, deleted, purges; or the status of a failure. */
type Copies = Record<string, ([number, number, number] | number)[]>;

function sum(copies: Copies, createdAt: string | null = "17"): ReturnType<typeof sumCopies> {
  const couch = {
    shards: () => Promise.resolve(new Map(Object.entries(copies).map(([range, all]) => [range, Object.keys(all)]))),
    async copyInfo(node: string, { range }: { range: string }): Promise<CopyInfo> {
      const copy = copies[range]![Number(node)]!;
      if (typeof copy === "number") throw new CouchError("Cannot", { error: "x", status: copy });
      const [live, deleted, purges] = copy;
      return await Promise.resolve({ live, deleted, purges });
    },
  };
  return sumCopies(couch, "db", { createdAt });
}

const [LOWER, UPPER] = ["00000000-7fffffff", "80000000-ffffffff"];

Deno.test("sumCopies() takes of each range the most that a copy has", async () => {
  const copies: Copies = { [UPPER]: [[0, 0, 0], [7, 1, 0]], [LOWER]: [[5, 5, 0], [7, 2, 0], [1, 1, 0]] };
  assertEquals(await sum(copies), { documents: 18, live: 14 });
});

Deno.test("sumCopies() passes over copies that do not answer, as long as one of each range does", async () => {
  assertEquals(await sum({ [LOWER]: [412, [5, 0, 0]], [UPPER]: [404, [3, 0, 0], 500] }), { documents: 8, live: 8 });
  assertEquals(await sum({ [LOWER]: [412, 412], [UPPER]: [[3, 0, 0]] }), undefined);
});

Deno.test("sumCopies() takes the word of the copies that know of most purges", async () => {
  const copies: Copies = { [LOWER]: [[9, 0, 1], [6, 1, 4], [5, 1, 4]], [UPPER]: [[3, 0, 0]] };
  assertEquals(await sum(copies), { documents: 10, live: 9 });
});

Deno.test("sumCopies() says nothing where ranges overlap or lack, copies have no known name, or the login may not", async () => {
  const one: Copies[string] = [[1, 0, 0]];
  assertEquals(await sum({ "00000000-ffffffff": one, [LOWER]: one, [UPPER]: one }), undefined);
  assertEquals(await sum({ [LOWER]: one }), undefined);
  assertEquals(await sum({}), undefined);
  assertEquals(await sum({ "00000000-ffffffff": one }, null), undefined);
  for (const status of [401, 403]) assertEquals(await sum({ "00000000-ffffffff": [status] }), undefined);
  await assertRejects(
    () => sumCopies({ shards: () => Promise.reject(new TypeError("a bug")) } as never, "db", { createdAt: "1" }),
    TypeError,
  );
});

Deno.test("sumCopies() asks a few copies at once, however many there are, and none after one that refuses the login", async () => {
  const hex = (number: number) => number.toString(16).padStart(8, "0");
  const ranges = Array.from({ length: 64 }, (_, n) => `${hex(n * 2 ** 26)}-${hex((n + 1) * 2 ** 26 - 1)}`);
  let [inFlight, most, asked] = [0, 0, 0];
  const couch = (status?: number) => ({
    shards: () => Promise.resolve(new Map(ranges.map((range) => [range, ["a", "b", "c"]]))),
    async copyInfo(): Promise<CopyInfo> {
      asked++;
      most = Math.max(most, ++inFlight);
      await new Promise((resolve) => setTimeout(resolve, 0));
      inFlight--;
      if (status !== undefined) throw new CouchError("Cannot", { error: "x", status });
      return { live: 1, deleted: 0, purges: 0 };
    },
  });
  assertEquals(await sumCopies(couch(), "db", { createdAt: "17" }), { documents: 64, live: 64 });
  assertEquals([most, asked], [16, 192]);
  asked = 0;
  assertEquals(await sumCopies(couch(401), "db", { createdAt: "17" }), undefined);
  assertEquals(asked <= 16, true);
});
