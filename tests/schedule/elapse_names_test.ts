import { assertEquals } from "@std/assert";
import { readElapse } from "../../src/schedule/elapse.ts";
import { DirectoryStore } from "../../src/store/directory/store.ts";

Deno.test("readElapse() passes over what only resembles a claim", async () => {
  const root = await Deno.makeTempDir({ prefix: "couchdb-backup-elapse-" });
  try {
    const store = new DirectoryStore(root);
    const put = (name: string) => store.replace(`e/${name}`, new TextEncoder().encode("{}"), {});
    for (const name of ["claim-1.json", "claim-02.json", "claim-99999999999999999999999.json"]) await put(name);
    assertEquals(await readElapse(store, "e", {}), { kind: "free" });
    await put("claim.json");
    await put("claim-12.json");
    const state = await readElapse(store, "e", {});
    assertEquals([state.kind, state.kind === "running" && state.generation], ["running", 12]);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
