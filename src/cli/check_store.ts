/** How `check --store` shows what was found of a store: a line for each property, and below it what that means. */
import type { StoreCheckReport } from "../commands/check_store.ts";
import { EXIT } from "../errors.ts";
import type { Call } from "./command.ts";

/** Prints the report, and returns the exit code. */
export function printStore(call: Call, report: StoreCheckReport): number {
  call.print(report, () => {
    const width = Math.max(...report.properties.map(({ property }) => property.length));
    const lines = report.properties.flatMap(({ property, held, ok, detail, instead, option, hint }) => [
      `${held ? "held" : ok ? "no  " : "FAIL"}  ${property.padEnd(width)}  ${detail}`,
      ...[instead && `-> ${instead}`, option && `option: ${option}`, hint]
        .filter((line) => line !== undefined).map((line) => `${"".padEnd(width + 6)}  ${line}`),
    ]);
    const lacking = report.properties.filter(({ held }) => !held).length;
    const verdict = report.ok
      ? `Backups can be kept in ${report.store}${
        lacking === 0 ? "" : `; ${lacking === 1 ? "a property is missing" : `${lacking} properties are missing`}`
      }`
      : `Backups cannot be kept in ${report.store} as it is`;
    return `${lines.join("\n")}\n${verdict}\n`;
  });
  return report.ok ? EXIT.ok : EXIT.store;
}
