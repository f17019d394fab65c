/**
 * Five-field cron lines, which people write out of habit where an OnCalendar expression is needed: recognises one and
 * says it in systemd's words, for an error's hint. Nothing here is run as a schedule.
 */

const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const NICKNAMES = new Map([
  ["@hourly", "hourly"],
  ["@daily", "daily"],
  ["@midnight", "daily"],
  ["@weekly", "Sun *-*-*"],
  ["@monthly", "monthly"],
  ["@yearly", "yearly"],
  ["@annually", "yearly"],
]);

/** Whether the text has the shape of a cron line: five fields, or a nickname such as `@daily`. */
export function looksLikeCron(text: string): boolean {
  const fields = text.trim().split(/\s+/);
  if (fields.length === 1) {
    return /^@(?:hourly|daily|midnight|weekly|monthly|yearly|annually|reboot)$/i.test(text.trim());
  }
  return fields.length === 5 && fields.slice(0, 3).every((field) => /^[\d*?/,-]+$/.test(field)) &&
    fields.slice(3).every((field) => /^[\dA-Za-z*?/,-]+$/.test(field));
}

/**
 * The OnCalendar expression that fires when the cron line does, or undefined where there is none: `@reboot`, a value
 * out of range, or both day fields set, which cron takes as "either" and OnCalendar as "both".
 *
 * @param isValid whether a candidate is an OnCalendar expression
 */
export function cronEquivalent(text: string, isValid: (candidate: string) => boolean): string | undefined {
  const [minute = "", hour = "", day = "", month = "", weekday = "", ...more] = text.trim().split(/\s+/);
  if (hour === "") return NICKNAMES.get(minute.toLowerCase());
  if (more.length > 0 || (!isStar(day) && !isStar(weekday))) return undefined;
  const numbers = [part(minute, 0), part(hour, 0), part(day, 1), part(month, 1, MONTHS)];
  const days = isStar(weekday) ? "" : weekdays(weekday);
  if (days === undefined || numbers.includes(undefined)) return undefined;
  const [minutes, hours, dates, months] = numbers;
  const candidate = `${days}*-${months}-${dates} ${hours}:${minutes}:00`;
  return isValid(candidate) ? candidate : undefined;
}

function isStar(field: string): boolean {
  return field === "*" || field === "?";
}

/** A field of numbers in systemd's notation: a star with a step of 15 from 0 is `0/15`, `1-5` is `1..5`. */
function part(field: string, first: number, names: string[] = []): string | undefined {
  if (isStar(field)) return "*";
  const entries: string[] = [];
  for (const entry of field.split(",")) {
    const match = /^(\*|(\w+)(?:-(\w+))?)(?:\/(\d+))?$/.exec(entry);
    if (match === null) return undefined;
    const [, whole, from = "", to, step] = match;
    const start = whole === "*" ? String(first) : number(from, first, names);
    const stop = to === undefined ? undefined : number(to, first, names);
    if (start === undefined || (to !== undefined && stop === undefined)) return undefined;
    // A star without a step in a list makes the list mean everything.
    if (whole === "*" && (step === undefined || step === "1")) return "*";
    const value = (text: string) => text.padStart(2, "0");
    entries.push(
      value(start) + (stop === undefined ? "" : `..${value(stop)}`) + (step === undefined ? "" : `/${step}`),
    );
  }
  return entries.join(",");
}

function number(text: string, first: number, names: string[]): string | undefined {
  if (/^\d+$/.test(text)) return text;
  const index = names.indexOf(text.toLowerCase());
  return index < 0 ? undefined : String(index + first);
}

/** The weekday field as a list of names and a space: cron counts from Sunday, which is both 0 and 7. */
function weekdays(field: string): string | undefined {
  const chosen = new Set<number>();
  const index = (text: string): number =>
    /^[0-7]$/.test(text) ? Number(text) : DAYS.findIndex((name) => name.toLowerCase() === text.toLowerCase());
  for (const entry of field.split(",")) {
    const match = /^(?:\*|(\w+)(?:-(\w+))?)(?:\/([1-7]))?$/.exec(entry);
    if (match === null) return undefined;
    const [, from, to, step] = match;
    const start = from === undefined ? 0 : index(from);
    let stop = from === undefined ? 6 : to !== undefined ? index(to) : step === undefined ? start : 6;
    if (start < 0 || stop < 0) return undefined;
    if (stop === 0 && start > 0) stop = 7;
    if (stop < start) return undefined;
    for (let day = start; day <= stop; day += Number(step ?? 1)) chosen.add(day % 7);
  }
  // Monday first, as OnCalendar has it.
  const names = [1, 2, 3, 4, 5, 6, 0].filter((day) => chosen.has(day)).map((day) => DAYS[day]);
  if (names.length === 7) return "";
  const adjacent = [1, 2, 3, 4, 5, 6, 7].filter((day) => chosen.has(day % 7));
  const unbroken = adjacent.length > 2 && adjacent.at(-1)! - adjacent[0]! === adjacent.length - 1;
  return `${unbroken ? `${names[0]}..${names.at(-1)}` : names.join(",")} `;
}
