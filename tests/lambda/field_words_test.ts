import { assertEquals, assertStrictEquals } from "@std/assert";
import { errorInFields, inFields, logInFields } from "../../lambda/field_words.ts";
import { CouchError, UsageError } from "../../src/errors.ts";
import { RecordedLog } from "../fakes/log.ts";

Deno.test("inFields() puts the fields of the event that restores in place of flags, and leaves commands as they are", () => {
  const cases: [string, string][] = [
    ["add --into-existing: the archive's", 'add "into_existing": true: the archive\'s'],
    ["under other names (--map), or add --into-existing", 'under other names ("map"), or add "into_existing": true'],
    ['--map "a=b" matches none of them', '"map": ["a=b"] matches none of them'],
    ["--map 'a(.*)=b$1'", '"map": ["a(.*)=b$1"]'],
    ["only if named (--match _users)", 'only if named ("match": ["_users"])'],
    ["no longer had it (--gone restores it)", 'no longer had it ("gone": true restores it)'],
    ["leave it out by --exclude, or", 'leave it out by "exclude", or'],
    ["seals, add --allow-plain; otherwise", 'seals, add "allow_plain": true; otherwise'],
    [
      '("couchdb-backup list --match a" finds it, --salvage too)',
      '("couchdb-backup list --match a" finds it, "salvage": true too)',
    ],
    [
      "couchdb-backup restore a b --into-existing completes it",
      "couchdb-backup restore a b --into-existing completes it",
    ],
    ["--matches, --parallel-not, a--gone-b", "--matches, --parallel-not, a--gone-b"],
    ["nothing", "nothing"],
  ];
  for (const [flags, fields] of cases) assertEquals(inFields(flags), fields);
});

Deno.test("errorInFields() keeps the error, its class, its facts and its causes", () => {
  const cause = new UsageError("without --gone", { hint: "add --gone" });
  const error = new CouchError("Cannot, see --map", { error: "x", status: 400 }, { cause, hint: "or --salvage" });
  assertStrictEquals(errorInFields(error), error);
  assertEquals([error.message, error.hint, error.facts], ['Cannot, see "map"', 'or "salvage": true', {
    error: "x",
    status: 400,
  }]);
  assertEquals([cause.message, cause.hint], ['without "gone": true', 'add "gone": true']);
  const foreign = new Error("--gone");
  assertEquals(errorInFields(foreign).message, "--gone");
});

Deno.test("logInFields() changes the prose of lines alone", () => {
  const log = new RecordedLog();
  logInFields(log).with({ request: "--gone" }).warn("left out", { reason: "(--gone restores it)", database: "--gone" });
  assertEquals(log.lines[0]!.fields.reason, '("gone": true restores it)');
  assertEquals(log.lines[0]!.fields.database, "--gone");
});
