import { assertEquals, assertRejects } from "@std/assert";
import type { CallOptions, CouchClient } from "../../src/couchdb/client.ts";
import type { DatabaseInfo } from "../../src/couchdb/info.ts";
import { DatabaseInfos } from "../../src/couchdb/database_infos.ts";
import { CouchError } from "../../src/errors.ts";

const NEVER = new AbortController().signal;

function info(name: string): DatabaseInfo {
  return { doc_count: name.length, update_seq: name } as DatabaseInfo;
}

/** A client that notes what it is asked: one name for `GET /{db}`, several for `_dbs_info`. */
function noting({ refusal, missing = [] }: { refusal?: number; missing?: string[] } = {}) {
  const asked: string[] = [];
  const couch = {
    async databaseInfo(name: string, _: CallOptions) {
      asked.push(name);
      await Promise.resolve();
      if (missing.includes(name)) throw new CouchError("gone", { error: "not_found", status: 404 });
      return info(name);
    },
    async databaseInfos(names: readonly string[], _: CallOptions) {
      asked.push(`[${names.join(" ")}]`);
      await new Promise((resolve) => setTimeout(resolve, 5));
      if (refusal !== undefined) throw new CouchError("refused", { error: "refused", status: refusal });
      return new Map(names.filter((name) => !missing.includes(name)).map((name) => [name, info(name)]));
    },
  };
  return { asked, couch: couch as unknown as CouchClient };
}

Deno.test("DatabaseInfos asks for what comes next along with the first, and for more of it while that is wanted in time", async () => {
  const { asked, couch } = noting();
  const infos = new DatabaseInfos(couch, { signal: NEVER });
  const names = Array.from({ length: 40 }, (_, n) => `db${n}`);
  infos.expect(names);
  for (const name of names) assertEquals((await infos.first(name)).info, info(name));
  const counts = asked.map((one) => one.split(" ").length);
  assertEquals(counts, [9, 17, 14], asked.join("\n"));
});

Deno.test("DatabaseInfos takes what came along for two seconds, and then asks for less ahead", async () => {
  const { asked, couch } = noting();
  let nowMs = 0;
  const infos = new DatabaseInfos(couch, { signal: NEVER, now: () => nowMs });
  infos.expect(["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"]);
  await infos.first("a");
  assertEquals(asked, ["[a b c d e f g h i]"]);
  nowMs = 2000;
  assertEquals(await infos.first("b"), { info: info("b"), askedAtMs: 0 });
  nowMs = 2001;
  assertEquals(await infos.first("c"), { info: info("c"), askedAtMs: 2001 });
  assertEquals(asked.slice(1), ["[c j]"], "the databases are large: only the next one comes along");
});

Deno.test("DatabaseInfos now() never takes what came along, and asks together for what is wanted meanwhile", async () => {
  const { asked, couch } = noting();
  const infos = new DatabaseInfos(couch, { signal: NEVER });
  infos.expect(["a", "b"]);
  await infos.first("a");
  await infos.now("b");
  assertEquals(asked, ["[a b]", "b"]);
  asked.length = 0;
  const found = await Promise.all(["a", "b", "c"].map((name) => infos.now(name)));
  assertEquals(found, ["a", "b", "c"].map(info));
  assertEquals(asked, ["[a b c]"]);
});

for (
  const [status, askedAgain] of [[403, false], [404, false], [405, false], [400, false], [500, true], [
    429,
    true,
  ]] as const
) {
  Deno.test(`DatabaseInfos asks for each by itself where CouchDB answers ${status}, and ${askedAgain ? "together the next time" : "never together again"}`, async () => {
    const { asked, couch } = noting({ refusal: status });
    const infos = new DatabaseInfos(couch, { signal: NEVER });
    infos.expect(["a", "b", "c"]);
    assertEquals((await infos.first("a")).info, info("a"));
    assertEquals(asked, ["[a b c]", "a"]);
    asked.length = 0;
    await Promise.all([infos.now("b"), infos.now("c")]);
    assertEquals(asked, askedAgain ? ["[b c]", "b", "c"] : ["b", "c"]);
  });
}

Deno.test("DatabaseInfos tries a wrong password once", async () => {
  const { asked, couch } = noting({ refusal: 401 });
  const infos = new DatabaseInfos(couch, { signal: NEVER });
  infos.expect(["a", "b"]);
  await assertRejects(() => infos.first("a"), CouchError, "refused");
  assertEquals(asked, ["[a b]"]);
});

Deno.test("DatabaseInfos lets a missing database tell that by itself", async () => {
  const { asked, couch } = noting({ missing: ["b"] });
  const infos = new DatabaseInfos(couch, { signal: NEVER });
  infos.expect(["a", "b"]);
  await infos.first("a");
  await assertRejects(() => infos.first("b"), CouchError, "gone");
  assertEquals(asked, ["[a b]", "b"]);
});

Deno.test("DatabaseInfos ends the wait of one that is aborted, and of that one alone", async () => {
  const { couch } = noting();
  const infos = new DatabaseInfos(couch, { signal: NEVER });
  const abort = new AbortController();
  const one = infos.now("a", { signal: abort.signal });
  const other = infos.now("b");
  abort.abort(new Error("enough"));
  await assertRejects(() => one, Error, "enough");
  assertEquals(await other, info("b"));
});
