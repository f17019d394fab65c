import { assertEquals } from "@std/assert";
import { digestOf, madeUpReport, pageOfPicture } from "../../scripts/draw_report.ts";
import { formatReportPage } from "../../src/observe/report_page.ts";

Deno.test("docs/report.png is of the page that report makes (scripts/draw_report.ts draws it)", async () => {
  const picture = await Deno.readFile(new URL("../../docs/report.png", import.meta.url));
  const page = formatReportPage(madeUpReport());
  assertEquals(
    pageOfPicture(picture),
    await digestOf(page),
    "draw it anew: deno run --allow-all scripts/draw_report.ts",
  );
});

Deno.test("madeUpReport() is the same each time", () => {
  assertEquals(madeUpReport(), madeUpReport());
});
