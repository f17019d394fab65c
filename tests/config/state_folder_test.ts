import { assertEquals } from "@std/assert";
import { stateFolderOf } from "../../src/config/state_folder.ts";

Deno.test("stateFolderOf() goes by the unit, then by XDG, then by the home folder", () => {
  const home = { HOME: "/home/bob" };
  const cases: [Record<string, string>, string | undefined][] = [
    [
      { ...home, STATE_DIRECTORY: "/var/lib/couchdb-backup:/var/lib/other", XDG_STATE_HOME: "/s" },
      "/var/lib/couchdb-backup",
    ],
    [{ ...home, XDG_STATE_HOME: "/s" }, "/s/couchdb-backup"],
    [{ ...home, XDG_STATE_HOME: "relative" }, "/home/bob/.local/state/couchdb-backup"],
    [{ ...home, STATE_DIRECTORY: "" }, "/home/bob/.local/state/couchdb-backup"],
    [{ HOME: "" }, undefined],
    [{}, undefined],
  ];
  for (const [env, folder] of cases) assertEquals(stateFolderOf(env), folder, JSON.stringify(env));
});
