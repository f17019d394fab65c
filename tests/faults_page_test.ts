/**
 * docs/faults.md is in step with the fault suite; whether its table has every fault, the suite itself says (run.ts).
 */
import { assert, assertEquals } from "@std/assert";
import { rowsOfPage } from "./faults/table.ts";
import { COUCHDB_FAULTS, S3_FAULTS, type WireFault } from "./faults/wire_faults.ts";

const PAGE = await Deno.readTextFile(new URL("../docs/faults.md", import.meta.url));

/** A line for each fault: `- reset: the connection …`; where only one server has it, that one is named. */
export function describeFaults(): string[] {
  const lines = new Map<string, string>();
  const tell = (faults: readonly WireFault[], others: readonly WireFault[], server: string) => {
    for (const { name, about } of faults) {
      const other = others.find((one) => one.name === name);
      if (other?.about === about) lines.set(name, `- \`${name}\`: ${about}`);
      else lines.set(`${name} ${server}`, `- \`${name}\` (${server}): ${about}`);
    }
  };
  tell(COUCHDB_FAULTS, S3_FAULTS, "CouchDB");
  tell(S3_FAULTS, COUCHDB_FAULTS, "S3");
  return [...lines.values()];
}

Deno.test("docs/faults.md tells of every fault between the program and its servers", () => {
  const told = PAGE.replaceAll(/\n {2}(?=\S)/g, " ").split("\n").filter((line) => /^- `[\w-]+`( \(|:)/.test(line));
  assertEquals(told, describeFaults());
});

Deno.test("docs/faults.md shows a run of at least 2000 faults without silent loss", () => {
  const rows = rowsOfPage(PAGE);
  assert(rows.reduce((sum, { tried }) => sum + tried, 0) >= 2000);
  for (const { subject, fault, tried, whole, said, broken } of rows) {
    assertEquals([tried, broken], [whole + said, 0], `${subject} ${fault}`);
  }
});
