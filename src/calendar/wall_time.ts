/** What a clock on the wall shows, as fields and as seconds since 1970 on that very clock. */

/** What a clock on the wall shows. Fields may lie outside their range: hour 24 is the next day's 0. */
export interface WallTime {
  year: number;
  /** 1 to 12. */
  month: number;
  /** 1 to 31. */
  day: number;
  hour: number;
  minute: number;
  second: number;
}

/** The seconds that the clock counts from 1970 to what it shows. */
export function wallSeconds({ year, month, day, hour, minute, second }: WallTime): number {
  return Date.UTC(year, month - 1, day, hour, minute, second) / 1000;
}

/** What the clock shows after so many of its seconds. */
export function wallFromSeconds(seconds: number): WallTime {
  const date = new Date(seconds * 1000);
  return {
    year: date.getUTCFullYear(),
    month: date.getUTCMonth() + 1,
    day: date.getUTCDate(),
    hour: date.getUTCHours(),
    minute: date.getUTCMinutes(),
    second: date.getUTCSeconds(),
  };
}

/** The day of the week: 0 is Monday. The fields may lie outside their range. */
export function weekdayOf(wall: WallTime): number {
  return (new Date(wallSeconds(wall) * 1000).getUTCDay() + 6) % 7;
}
