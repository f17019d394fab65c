/**
 * The names of time zones: in goes what somebody wrote, out comes whether it is a zone of the IANA database, or what to
 * write instead.
 */
import { nearest } from "../nearest.ts";

/** Names that Intl keeps from old releases of the database. */
const FORMER_NAMES = /^(?:SystemV\/.*|US\/Pacific-New)$/;

/** All IANA names of three capitals. Intl also knows PST, IST and two dozen more that the database does not have. */
const THREE_LETTERS = /^(?:CET|EET|EST|GMT|HST|MET|MST|PRC|ROC|ROK|UCT|UTC|WET)$/;

let knownNames: Map<string, string> | undefined;

/** The zones Intl lists, by their names in lower case. Links such as `Asia/Kolkata` are valid without being listed. */
function listedZones(): Map<string, string> {
  knownNames ??= new Map(Intl.supportedValuesOf("timeZone").map((name) => [name.toLowerCase(), name]));
  return knownNames;
}

/**
 * Whether `name` is a zone of the IANA database (`Europe/Berlin`, `Asia/Calcutta`, `UTC`), spelled as there. Offsets
 * (`+01:00`) and abbreviations outside the database (`CEST`, `PST`) are not.
 */
export function isTimeZone(name: string): boolean {
  if (!/^[A-Z][A-Za-z0-9_+-]*(?:\/[A-Za-z0-9_+-]+)*$/.test(name) || FORMER_NAMES.test(name)) return false;
  if (/^[A-Z]{3}$/.test(name) && !THREE_LETTERS.test(name)) return false;
  const listed = listedZones().get(name.toLowerCase());
  if (listed !== undefined) return listed === name;
  try {
    new Intl.DateTimeFormat("en-US", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

/** What to write instead of `name`, which is no zone. */
export function timeZoneHint(name: string): string {
  if (/^[A-Z]{2,5}$/.test(name)) {
    return `"${name}" is an abbreviation: write the zone's name, such as Europe/Berlin or UTC`;
  }
  const zones = [...listedZones().values()];
  // A city alone, as people say it.
  const city = zones.find((zone) => zone.toLowerCase().endsWith(`/${name.toLowerCase()}`));
  const near = city ?? nearest(name, zones);
  return near === undefined ? "Write the zone's name, such as Europe/Berlin or UTC" : `Did you mean "${near}"?`;
}
