import { assertEquals, assertRejects } from "@std/assert";
import { StoreError } from "../../src/errors.ts";
import { openStore } from "../../src/store/open.ts";

Deno.test("openStore() opens a folder and gives its URL back", async () => {
  assertEquals((await openStore({ bucket: "file:///srv/backup/" })).url, "file:///srv/backup");
  assertEquals((await openStore({ bucket: "file:///srv/with%20space" })).url, "file:///srv/with%20space");
  assertEquals((await openStore({ bucket: "FILE:///srv" })).url, "file:///srv");
});

Deno.test("openStore() refuses what is no bucket, says how to write one, and shows no password", async () => {
  for (
    const [bucket, shown] of [
      ["/srv/backup", "/srv/backup"],
      ["", ""],
      ["http://minio:9000/bucket", "http://minio:9000/bucket"],
      ["https://user:hunter2@minio/bucket", "https://minio/bucket"],
      ["file://host/share", "file://host/share"],
      ["file:///a%2Fb", "file:///a%2Fb"],
    ] as const
  ) {
    const error = await assertRejects(() => openStore({ bucket }), StoreError, `"${shown}"`);
    assertEquals(error.facts.code, "bad_bucket");
    assertEquals(error.message.includes("hunter2") || error.hint === undefined, false);
  }
});
