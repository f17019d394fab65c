import { assertEquals } from "@std/assert";
import { MOST_REACH, Reach } from "../../../src/commands/backup/reach.ts";

Deno.test("Reach is none at first, then what is stored within two seconds, and no more than takes too much memory", () => {
  let ms = 5000;
  const reach = new Reach(() => ms);
  assertEquals(reach.documents, 0);
  reach.begin();
  assertEquals(reach.documents, 0);
  ms += 500;
  reach.note(1000);
  assertEquals(reach.documents, 4000);
  ms += 500;
  assertEquals(reach.documents, 2000, "that nothing was stored since counts, too");
  reach.note(1_000_000);
  assertEquals(reach.documents, MOST_REACH);
});

Deno.test("Reach of a database whose documents become slow is small before long: an interruption costs what it has in hand", () => {
  let ms = 0;
  const reach = new Reach(() => ms);
  reach.begin();
  for (let second = 0; second < 60; second++) {
    ms += 1000;
    reach.note(10_000);
  }
  assertEquals(reach.documents, 20_000);
  for (let second = 0; second < 60; second++) {
    ms += 1000;
    reach.note(10);
  }
  assertEquals(reach.documents < 100, true, String(reach.documents));
});
