import { assertEquals, assertRejects } from "@std/assert";
import { Secret } from "../../src/secret.ts";
import { cachedProvider, type Credentials, staticProvider } from "../../src/aws/credentials.ts";

const SECOND_MS = 1_000;
const MINUTE_MS = 60_000;
const keys = (accessKeyId: string, expiresInMs?: number): Credentials => ({
  accessKeyId,
  secretAccessKey: new Secret("hunter2"),
  expiresAt: expiresInMs === undefined ? undefined : new Date(expiresInMs),
});

Deno.test("staticProvider() gives the same keys always, and they print no secret", async () => {
  const provider = staticProvider(keys("one"));
  assertEquals(await provider(), await provider());
  assertEquals(Deno.inspect(await provider()).includes("hunter2"), false);
});

Deno.test("cachedProvider() asks again five minutes before the keys end", async () => {
  let now = 0;
  let asked = 0;
  const provider = cachedProvider(() => Promise.resolve(keys(`keys ${++asked}`, now + 60 * MINUTE_MS)), {
    now: () => now,
  });
  const seen: [minute: number, name: string][] = [];
  for (const minute of [0, 1, 54, 55, 56, 109, 110, 300]) {
    now = minute * MINUTE_MS;
    seen.push([minute, (await provider()).accessKeyId]);
  }
  assertEquals(seen, [
    [0, "keys 1"],
    [1, "keys 1"],
    [54, "keys 1"],
    [55, "keys 2"],
    [56, "keys 2"],
    [109, "keys 2"],
    [110, "keys 3"],
    [300, "keys 4"],
  ]);
});

Deno.test("cachedProvider() asks once for requests that come together, and never again for keys without an end that are taken", async () => {
  let asked = 0;
  const provider = cachedProvider(() => Promise.resolve(keys(`keys ${++asked}`)));
  const together = await Promise.all([provider(), provider(), provider()]);
  assertEquals([...together, await provider()].map((found) => found.accessKeyId), Array(4).fill("keys 1"));
});

Deno.test("cachedProvider() uses keys on that still work when asking fails, and fails when they have ended", async () => {
  let now = 0;
  let broken = false;
  const source = () => broken ? Promise.reject(new Error("busy")) : Promise.resolve(keys("first", 10 * MINUTE_MS));
  const provider = cachedProvider(source, { now: () => now });
  await provider();
  broken = true;
  now = 9 * MINUTE_MS;
  assertEquals((await provider()).accessKeyId, "first");
  now += SECOND_MS;
  assertEquals((await provider()).accessKeyId, "first");
  now = 10 * MINUTE_MS - SECOND_MS;
  assertEquals((await provider()).accessKeyId, "first");
  now = 10 * MINUTE_MS;
  await assertRejects(() => provider(), Error, "busy");
  broken = false;
  assertEquals((await provider()).accessKeyId, "first");
});

Deno.test("cachedProvider() leaves a source alone for ten seconds that fails, or has no keys that last", async () => {
  let now = 0;
  let asked = 0;
  let fails = false;
  const source = () => {
    asked++;
    return fails ? Promise.reject(new Error("silent")) : Promise.resolve(keys("old", 60 * MINUTE_MS));
  };
  const provider = cachedProvider(source, { now: () => now });
  await provider();
  for (fails of [true, false]) {
    asked = 0;
    now += 56 * MINUTE_MS - now % MINUTE_MS - (fails ? 0 : 55 * MINUTE_MS);
    for (let second = 0; second < 21; second++, now += SECOND_MS) await provider();
    assertEquals(asked, 3);
  }
  // The metadata service gives keys that have ended when it is in trouble, and AWS takes them then.
  now = 70 * MINUTE_MS;
  asked = 0;
  for (let second = 0; second < 21; second++, now += SECOND_MS) assertEquals((await provider()).accessKeyId, "old");
  assertEquals(asked, 3);
});

Deno.test("cachedProvider() asks again where its keys are refused, but not for those that it has replaced already", async () => {
  let now = 0;
  let asked = 0;
  let present = keys("first");
  const provider = cachedProvider(() => {
    asked++;
    return Promise.resolve(present);
  }, { now: () => now });
  const first = await provider();
  assertEquals((await provider(first)).accessKeyId, "first");
  present = keys("second");
  // Whoever asked a moment ago has seen what there is.
  assertEquals((await provider(first)).accessKeyId, "first");
  now += 10 * SECOND_MS;
  assertEquals((await provider(first)).accessKeyId, "second");
  assertEquals((await provider(first)).accessKeyId, "second");
  assertEquals(asked, 3);
});
