import { assertEquals } from "@std/assert";
import { counted, formatCount, formatSeconds, formatSize } from "../../src/observe/figures.ts";

Deno.test("formatCount() groups digits by three", () => {
  assertEquals([0, 999, 1000, 1234567, 1000.6].map(formatCount), ["0", "999", "1,000", "1,234,567", "1,001"]);
});

Deno.test("counted() has one thing in the singular, and none in the plural", () => {
  assertEquals([0, 1, 2, 1234].map((count) => counted(count, "leaf revision")), [
    "0 leaf revisions",
    "1 leaf revision",
    "2 leaf revisions",
    "1,234 leaf revisions",
  ]);
  assertEquals([1, 2].map((count) => counted(count, "entry", "entries")), ["1 entry", "2 entries"]);
});

Deno.test("formatSize() keeps two digits and never shows 1000 of a unit", () => {
  const sizes = [0, 999, 1000, 1234, 9949, 9950, 12_345, 999_499, 999_500, 2.5e9, 3e15, 5e19];
  assertEquals(sizes.map(formatSize), [
    "0 B",
    "999 B",
    "1.0 kB",
    "1.2 kB",
    "9.9 kB",
    "10 kB",
    "12 kB",
    "999 kB",
    "1.0 MB",
    "2.5 GB",
    "3.0 PB",
    "50000 PB",
  ]);
});

Deno.test("formatSeconds() shows two units at most", () => {
  const seconds = [0, 0.34, 9.94, 9.95, 59.4, 59.6, 61, 3599.4, 3599.6, 3660, 86_399, 86_400, 200_000];
  assertEquals(seconds.map(formatSeconds), [
    "0.0s",
    "0.3s",
    "9.9s",
    "10s",
    "59s",
    "1m00s",
    "1m01s",
    "59m59s",
    "1h00m",
    "1h01m",
    "23h59m",
    "1d00h",
    "2d07h",
  ]);
});
