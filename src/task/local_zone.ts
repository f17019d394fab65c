/**
 * The time zone of the machine, in which days begin where neither a task nor its schedule names one. In: what TZ says, and
 * what the runtime takes for the zone. Out: a name of the IANA database. The runtime alone is not enough: of a TZ that it
 * does not understand it makes no name, an offset, or UTC, and then backups lie under the date of another day.
 */
import { isTimeZone } from "../calendar/zone_name.ts";
import { UsageError } from "../errors.ts";

/** What is used of Temporal, which Deno has and Node 22 has not. */
interface Temporal {
  Now: { timeZoneId(): string };
}

/** What ICU calls a zone that it cannot find out. */
const UNKNOWN = "Etc/Unknown";
/** `/usr/share/zoneinfo/posix/Europe/Berlin`, with or without the colon that says that TZ is no rule. */
const BEFORE_NAME = /^:?(?:\/.*\/zoneinfo\/)?(?:(?:posix|right)\/)?/;
/** Of all rules the one that says no more than a name: `UTC0`. */
const RULE_OF_UTC = /^(?:UTC|GMT)[+-]?0+$/;

/**
 * Finds the machine's zone.
 *
 * @param tz What the environment variable TZ says; undefined where it is not set.
 * @param zoneOfRuntime The zone of `/etc/localtime`; asked where TZ is not set.
 * @throws UsageError where nobody can tell: TZ holds a rule (`CET-1CEST`) or no zone's name, or the runtime knows none.
 */
export function localZone(tz: string | undefined, zoneOfRuntime: () => string | undefined = askRuntime): string {
  const zone = tz === undefined ? zoneOfRuntime() : zoneNamed(tz);
  if (zone !== undefined && zone !== UNKNOWN) return zone;
  const why = tz === undefined ? "" : `: TZ is "${tz}", which is no zone of the IANA database`;
  throw new UsageError(`Cannot tell the time zone of this machine${why}`, {
    hint: "Set TZ to its name, such as Europe/Berlin or UTC, or give each task a timezone",
  });
}

function zoneNamed(tz: string): string | undefined {
  const name = tz.replace(BEFORE_NAME, "");
  // An empty one is UTC for every program. `:UTC` is what AWS Lambda has, and Intl is slow to load.
  if (name === "" || name === "UTC" || RULE_OF_UTC.test(name)) return "UTC";
  return isTimeZone(name) ? name : undefined;
}

/** Without Intl where that can be: to load it takes a tenth of a start. */
function askRuntime(): string | undefined {
  const { Temporal } = globalThis as { Temporal?: Temporal };
  const zone = Temporal?.Now.timeZoneId();
  // Temporal says UTC of a file that it has no name for, whose clock is another one.
  const isNamed = zone !== undefined && (zone !== "UTC" || isClockUtc());
  return isNamed ? zone : Intl.DateTimeFormat().resolvedOptions().timeZone;
}

function isClockUtc(): boolean {
  return [0, 6].every((month) => new Date(2026, month).getTimezoneOffset() === 0);
}
