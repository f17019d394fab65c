import { assertEquals } from "@std/assert";
import { Undecided } from "../../src/commands/undecided.ts";
import { ArchiveError, CouchError, EXIT, StoreError } from "../../src/errors.ts";
import { RecordedLog } from "../fakes/log.ts";

const BACKUP = { database: "orders", path: "file:///b/manifest.json", finished_at: "2026-11-25T12:00:00.000Z" };
const store = (code: string, status?: number) => new StoreError(`Cannot read: ${code}`, { code, status });
const couch = (error: string, status?: number) => new CouchError(`Cannot write: ${error}`, { error, status });

Deno.test("Undecided takes what says nothing of the backup, and leaves what does", () => {
  const taken = (error: unknown) => new Undecided({ log: new RecordedLog() }).take(BACKUP, error);
  for (const error of [store("ExpiredToken", 400), store("AccessDenied", 403), store("unreachable")]) {
    assertEquals(taken(error), true, error.message);
  }
  const ofCouchDb = [
    couch("unauthorized", 401),
    couch("forbidden", 403),
    couch("unreachable"),
    couch("timeout"),
    couch("cut_off"),
    couch("not_couchdb"),
    couch("too_many_requests", 429),
    couch("http_error", 503),
    couch("insufficient_storage", 507),
  ];
  for (const error of ofCouchDb) assertEquals(taken(error), true, error.message);
  const ofItsOwn = [
    store("not_found", 404),
    store("InvalidObjectState", 403),
    store("EIO"),
    couch("bad_request", 400),
    couch("document_too_large", 413),
    new ArchiveError("Chunk is damaged", { key: "a" }),
    new TypeError("x is not a function"),
  ];
  for (const error of ofItsOwn) assertEquals(taken(error), false, error.message);
});

Deno.test("Undecided is over where every further backup would meet the same, and where many in a row have", () => {
  const over = (errors: unknown[], mostInARow = 3) => {
    const undecided = new Undecided({ log: new RecordedLog(), mostInARow });
    return errors.map((error) => {
      if (error === "decided") undecided.noteDecided();
      else undecided.take(BACKUP, error);
      return undecided.isOver;
    });
  };
  assertEquals(over([store("ExpiredToken", 400)]), [true]);
  assertEquals(over([couch("unauthorized", 401)]), [true]);
  assertEquals(over([couch("unreachable")]), [true]);
  const refused = store("AccessDenied", 403);
  assertEquals(over([refused, refused, refused, refused]), [false, false, false, false]);
  const slow = store("SlowDown", 503);
  const damaged = new ArchiveError("Chunk is damaged", { key: "a" });
  for (const answered of ["decided", refused, damaged]) {
    assertEquals(over([slow, slow, answered, slow, slow, slow]), [false, false, false, false, false, true]);
  }
});

Deno.test("Undecided tells of each that was tried, and once of all that were not", () => {
  const log = new RecordedLog();
  const undecided = new Undecided({ log });
  undecided.take(BACKUP, store("ExpiredToken", 400));
  undecided.noteUntried({ ...BACKUP, database: "a" });
  undecided.noteUntried({ ...BACKUP, database: "b" });
  undecided.tell();
  assertEquals(
    undecided.backups.map(({ database, error, exit_code, tried }) => [database, error, exit_code, tried]),
    [
      ["orders", "Cannot read: ExpiredToken", EXIT.store, true],
      ["a", "Not tried, as it would fail like one before: Cannot read: ExpiredToken", EXIT.store, false],
      ["b", "Not tried, as it would fail like one before: Cannot read: ExpiredToken", EXIT.store, false],
    ],
  );
  assertEquals(log.lines.map(({ event, fields }) => [event, fields?.backups]), [
    ["backup could not be looked at", undefined],
    ["backups were not looked at", 2],
  ]);
});
