import { assertEquals } from "@std/assert";
import { beginningOfText } from "../src/beginning_of_text.ts";

Deno.test("beginningOfText() is one line that a terminal can show, of a page its title", () => {
  const cases = [
    [
      "<!DOCTYPE html>\n<html><head><TITLE lang=en>502\n Bad Gateway</TITLE></head><body>nginx</body></html>",
      "502 Bad Gateway",
    ],
    ["<html><body><h1>Not here</h1>ask elsewhere</body></html>", "Not here"],
    ["<p>Please\n<b>log in</b></p>", "Please log in"],
    ["entry too far behind:\n  oldest is 1\n", "entry too far behind: oldest is 1"],
    ["\u001b[2Jgone\u0007", "[2Jgone"],
    ["12345678901", "1234567890…"],
    [" \n", ""],
  ] as const;
  for (const [text, line] of cases) assertEquals(beginningOfText(text, line.endsWith("…") ? 10 : 100), line);
});
