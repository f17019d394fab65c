import { assert, assertEquals } from "@std/assert";
import { drawTerminal, playScene } from "../../scripts/draw_terminal.ts";

/** The lines of the picture, but for what differs from run to run and the order of what goes on at the same time. */
function linesOf(svg: string): string[] {
  const text = [...svg.matchAll(/<text [^>]*>(.*)<\/text>/g)].map(([, line = ""]) =>
    line.replaceAll(/<[^>]+>/g, "").replaceAll("&lt;", "<").replaceAll("&amp;", "&").replaceAll("\u00a0", " ")
  );
  return text.map((line) =>
    line.replaceAll(/\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g, "RUN").replaceAll(/\d{4}-\d\d-\d\d/g, "DATE")
      .replaceAll(/ +\d+(\.\d+)?s\b/g, " SECONDS").replaceAll(/ +[\d.]+ k?B\b/g, " SIZE").replaceAll(/ {2,}/g, "  ")
  ).sort();
}

Deno.test("docs/terminal.svg shows what a run prints (scripts/draw_terminal.ts draws it)", async () => {
  const drawn = await Deno.readTextFile(new URL("../../docs/terminal.svg", import.meta.url));
  const lines = await playScene();
  assertEquals(linesOf(drawTerminal(lines)), linesOf(drawn), lines.join("\n"));
  for (const mark of ["✓", "!", "✗"]) assert(lines.some((line) => line.startsWith(mark)), mark);
});
