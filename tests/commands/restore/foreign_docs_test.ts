import { assertEquals } from "@std/assert";
import { FOREIGN_FILES, REFUSED_FILES } from "../../foreign_files.ts";

/** The rows of the tables of a section of docs/restore.md, by the heading of their second column. */
async function tablesOf(section: string): Promise<Map<string, string[][]>> {
  const text = await Deno.readTextFile("docs/restore.md");
  const [, body = ""] = text.split(`\n## ${section}\n`);
  const tables = new Map<string, string[][]>();
  let rows: string[][] = [];
  for (const line of body.split(/\n## /)[0]!.split("\n")) {
    if (!line.startsWith("|")) rows = [];
    else {
      const cells = line.split("|").slice(1, -1).map((cell) => cell.trim());
      if (rows.length === 0) tables.set(cells[1]!, rows);
      rows.push(cells);
    }
  }
  return new Map([...tables].map(([name, all]) => [name, all.slice(2)]));
}

/** What a begun text of the documentation matches: its three dots stand for anything. */
function patternOf(begun: string): RegExp {
  const parts = begun.replaceAll("`", "").split("…");
  const quoted = parts.map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${quoted.join(".*?")}`, "s");
}

Deno.test("docs/restore.md names each format that is read, how it begins, and whether a cut is noticed", async () => {
  const rows = (await tablesOf("Archives of others")).get("how it begins") ?? [];
  const cut = (isOfLines: boolean) => isOfLines ? "in its line" : "is refused";
  assertEquals(
    rows.map(([what, , end]) => [what, end]).sort(),
    FOREIGN_FILES.map(({ what, isOfLines }) => [what, cut(isOfLines)]).sort(),
  );
  for (const [what, begun = ""] of rows) {
    const { text } = FOREIGN_FILES.find((file) => file.what === what)!;
    const compact = text.replaceAll(/\s*\n\s*/g, "").replace('": [', '":[').trim();
    const older = compact.replace('"new_edits":false,', "");
    assertEquals(patternOf(begun).test(older), true, `${what} begins as ${older.slice(0, 80)}`);
  }
});

Deno.test("docs/restore.md says of what is not read what the message says", async () => {
  const rows = (await tablesOf("Archives of others")).get("the message says") ?? [];
  assertEquals(rows.length > 10, true);
  for (const [what, message] of rows) {
    const refused = REFUSED_FILES.find(([name]) => name === what);
    assertEquals([what, refused?.[2]], [what, message]);
  }
});
