import { assertEquals, assertRejects } from "@std/assert";
import { Silence } from "../../lambda/silence.ts";

/** A clock that is set by hand, and a server whose answers are given by hand. */
function setUp() {
  const clock = { ms: 1000 };
  const silence = new Silence(() => clock.ms);
  const waiting: PromiseWithResolvers<Response>[] = [];
  const fetch = silence.watch((_, init) => {
    const answer = Promise.withResolvers<Response>();
    waiting.push(answer);
    init?.signal?.addEventListener("abort", () => answer.reject(init.signal!.reason));
    return answer.promise;
  }, "database");
  return { clock, silence, waiting, fetch };
}

const URL = "http://couchdb.example.com:5984/_all_dbs";

Deno.test("Silence.describe() names a server that has not answered, from the first request since its last answer", async () => {
  const { clock, silence, waiting, fetch } = setUp();
  assertEquals(silence.describe(), undefined);
  const [first, second] = [fetch(URL), fetch(URL)];
  clock.ms += 1900;
  assertEquals(silence.describe(), undefined, "so long takes what is well");
  clock.ms += 10_200;
  assertEquals(silence.describe(), "CouchDB at couchdb.example.com:5984 has not answered for 12 s");
  waiting[0]!.resolve(new Response());
  await first;
  assertEquals(silence.describe(), undefined);
  clock.ms += 5000;
  assertEquals(silence.describe(), "CouchDB at couchdb.example.com:5984 has not answered for 5 s");
  waiting[1]!.resolve(new Response("", { status: 404 }));
  await second;
  clock.ms += 60_000;
  assertEquals(silence.describe(), undefined);
});

Deno.test("Silence.describe() says what came in place of an answer, also between two requests", async () => {
  const { clock, silence, waiting, fetch } = setUp();
  const refused = fetch(URL);
  waiting[0]!.reject(new TypeError("connection refused"));
  await assertRejects(() => refused, TypeError);
  clock.ms += 4000;
  assertEquals(silence.describe(), "CouchDB at couchdb.example.com:5984 cannot be reached, for 4 s now");
  const busy = fetch(URL);
  waiting[1]!.resolve(new Response("", { status: 503 }));
  await busy;
  clock.ms += 3000;
  assertEquals(silence.describe(), "CouchDB at couchdb.example.com:5984 answers 503, for 7 s now");
  silence.forget();
  assertEquals(silence.describe(), undefined);
});

Deno.test("Silence.describe() does not blame a server for a request that was given up", async () => {
  const { clock, silence, fetch } = setUp();
  const end = new AbortController();
  const given = fetch(URL, { signal: end.signal });
  end.abort(new Error("no longer wanted"));
  await assertRejects(() => given, Error, "no longer wanted");
  clock.ms += 60_000;
  assertEquals(silence.describe(), undefined);
});
