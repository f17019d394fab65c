import { assertEquals } from "@std/assert";
import type { Store } from "../../src/store/store.ts";
import { runUntil } from "./stepped_store.ts";

Deno.test("runUntil() returns when what was under way at the end has ended, and lets nothing begin behind it", async () => {
  const done: string[] = [];
  const store = {
    async stat(key: string) {
      await new Promise((resolve) => setTimeout(resolve, key === "slow" ? 50 : 0));
      done.push(key);
      return undefined;
    },
  } as unknown as Store;
  const { first, isMet, met } = await runUntil({ place: 2, isBehind: true }, store, async (store) => {
    const slow = store.stat("slow");
    await store.stat("last");
    await slow;
    await store.stat("never");
    return "whole";
  });
  assertEquals([first, isMet, met, done], [undefined, true, "stat last", ["last", "slow"]]);
});
