import { assertEquals, assertThrows } from "@std/assert";
import { BuildError } from "../../scripts/artifact.ts";
import { maintainerOf, NOBODY } from "../../scripts/packaging/maintainer.ts";

Deno.test("maintainerOf() takes a name with an address, and has one that is nobody's", () => {
  assertEquals(maintainerOf(), NOBODY);
  for (const text of ["Jane Doe <jane@example.com>", "Иван Петров <ivan+deb@mail.example.org>", "J <j@h>"]) {
    assertEquals(maintainerOf(text), text);
  }
});

Deno.test("maintainerOf() refuses what a deb or an rpm would read as something else", () => {
  const wrong = [
    "",
    "jane@example.com",
    "<jane@example.com>",
    " Jane <jane@example.com>",
    "Jane <jane>",
    "Jane  <a b@example.com>",
    "Jane, John <jane@example.com>",
    "Jane <jane@example.com>\nSection: games",
    "Jane\nSection: games <jane@example.com>",
    "Jane <jane@example.com>, John <john@example.com>",
  ];
  for (const text of wrong) assertThrows(() => maintainerOf(text), BuildError, "--maintainer is", text);
});
