import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { DirectoryRemover } from "../../../src/store/directory/remover.ts";

Deno.test("remove() deletes what lies in a folder that is a symbolic link, and leaves the link", async () => {
  const root = await Deno.makeTempDir({ prefix: "couchdb-backup-remover-" });
  try {
    await Deno.mkdir(join(root, "elsewhere"));
    await Deno.symlink(join(root, "elsewhere"), join(root, "link"));
    await Deno.writeTextFile(join(root, "elsewhere", "x"), "x");
    await new DirectoryRemover(root).remove("link/x");
    assertEquals((await Array.fromAsync(Deno.readDir(root))).map(({ name }) => name).sort(), ["elsewhere", "link"]);
    assertEquals(await Array.fromAsync(Deno.readDir(join(root, "elsewhere"))), []);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
