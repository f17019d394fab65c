import { assertEquals } from "@std/assert";
import { walk } from "./source_files.ts";

const NOUNS =
  "documents|databases|chunks|revisions|bytes|rows|characters|problems|tasks|attachments|lines|objects|files";
/** A value and, perhaps behind an adjective, a noun in the plural. */
const BARE_COUNT = new RegExp(`\\$\\{[^{}]*\\} (?:[a-z]+ )?(?:${NOUNS})\\b`, "g");

Deno.test("no message has a count before a noun but by counted(): there is no 1 documents", async () => {
  const found: string[] = [];
  for (const { path, text } of await walk(["src", "lambda"])) {
    for (const [match] of text.matchAll(BARE_COUNT)) {
      if (!/\.place\}|\?\? "no"\}/.test(match)) found.push(`${path}: ${match}`);
    }
  }
  assertEquals(found, []);
});
