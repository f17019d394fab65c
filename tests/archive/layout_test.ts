import { assertEquals } from "@std/assert";
import {
  backupFolder,
  chunkName,
  isManifestName,
  parseChunkName,
  parseManifestName,
  parseRunFolderName,
  runFolder,
} from "../../src/archive/layout.ts";

Deno.test("backupFolder() puts prefix, date, suffix and the encoded name together", () => {
  const date = { year: 2026, month: 1, day: 3 };
  const folder = (prefix: string, suffix: string) => backupFolder({ prefix, date, suffix, database: "a/b" });
  assertEquals(folder("backup/ippbx", "couchdb"), "backup/ippbx/2026/01/03/couchdb/a%2Fb");
  assertEquals(folder("", ""), "2026/01/03/a%2Fb");
  assertEquals(folder("/x/", "/y/"), "x/2026/01/03/y/a%2Fb");
});

Deno.test("chunkName() has seven digits or more, and parseChunkName() reads only such names", () => {
  const cases: [number: number, name: string][] = [
    [0, "0000000.json.gz"],
    [12, "0000012.json.gz"],
    [9_999_999, "9999999.json.gz"],
    [10_000_000, "10000000.json.gz"],
  ];
  for (const [number, name] of cases) {
    assertEquals(chunkName(number), name);
    assertEquals(parseChunkName(name), number);
  }
  for (const name of ["manifest.json", "000001.json.gz", "0000001.json", "x0000001.json.gz", "0000001.json.gz.tmp"]) {
    assertEquals(parseChunkName(name), undefined, name);
  }
});

Deno.test("runFolder() lies beside the years and names task and elapse", () => {
  const elapse = new Date("2026-01-03T18:00:00.000Z");
  assertEquals(
    runFolder({ prefix: "backup", suffix: "couchdb", task: "each/week", elapse }),
    "backup/_runs/couchdb/each%2Fweek/20260103T180000Z",
  );
});

Deno.test("names with an impossible instant, or with more digits than a number holds, are none", () => {
  const names = ["manifest-20261325T180411Z-0b5a8fd2.json", "manifest-20261125T250411Z-0b5a8fd2.json"];
  assertEquals(names.map(parseManifestName), [undefined, undefined]);
  assertEquals(names.map(isManifestName), [false, false]);
  assertEquals(parseRunFolderName("20261325T180411Z"), undefined);
  assertEquals(parseChunkName("999999999999.json.gz"), 999_999_999_999);
  assertEquals(parseChunkName("99999999999999999999999.json.gz"), undefined);
});
