import { assert, assertEquals } from "@std/assert";
import { padEnd, padStart, shortenMiddle, widthOf } from "../../src/observe/text_width.ts";

Deno.test("shortenMiddle() keeps both ends and never exceeds the width", () => {
  assertEquals([20, 10, 9, 2, 1, 0].map((width) => shortenMiddle("abcdefghijkl", width)), [
    "abcdefghijkl",
    "abcde…ijkl",
    "abcd…ijkl",
    "a…",
    "…",
    "",
  ]);
});

Deno.test("widthOf() counts the columns of a terminal, not code units", () => {
  const widths: [string, number][] = [
    ["orders", 6],
    ["注文", 4],
    ["한국", 4],
    ["ｆｕｌｌ", 8],
    ["🗄️", 2],
    ["👩‍💻", 2],
    ["e\u0301te\u0301", 3],
    ["\u200b", 0],
    ["Ωμέγα", 5],
    ["✓ …", 3],
  ];
  for (const [text, width] of widths) assertEquals(widthOf(text), width, text);
  assertEquals([padEnd("注文", 6), padStart("注文", 6)], ["注文  ", "  注文"]);
});

Deno.test("shortenMiddle() cuts between what a person sees, and never into more columns than there are", () => {
  const texts = ["注文データベース", "e\u0301".repeat(20), "👩‍💻👩‍💻👩‍💻👩‍💻", "aあbいcうdえe"];
  for (const text of texts) {
    for (let width = 0; width <= 20; width++) {
      const cut = shortenMiddle(text, width);
      assert(widthOf(cut) <= width, `${cut} in ${width}`);
      assert(!/^\u0301|…\u0301|\u200d…|…\u200d/u.test(cut), cut);
    }
  }
  assertEquals(shortenMiddle("注文データベース", 9), "注文…ース");
});
