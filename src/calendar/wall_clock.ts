/**
 * From a wall clock to an instant: in goes what the clock of a zone shows, out comes when it does, where clocks are put
 * forward (the time does not exist) or back (it exists twice) as the GNU C library sees it. Instants are whole seconds.
 */
import type { TimeZone } from "./time_zone.ts";
import { wallSeconds, type WallTime } from "./wall_time.ts";

/** How far apart, and how far away, the GNU C library looks for an instant with the daylight saving asked for. */
const DAYLIGHT_STEP_SECONDS = 601_200;
const DAYLIGHT_REACH_SECONDS = 268_828_200;

/**
 * Turns wall clock times into instants as the GNU C library's `mktime` does, which is what systemd calls: a time that
 * does not exist is moved over the gap, and of a time that exists twice the one is taken that has the offset of the
 * call before. That memory is why this is an object.
 *
 * @see https://www.gnu.org/software/libc/manual/html_node/Broken_002ddown-Time.html
 */
export class WallClock {
  readonly zone: TimeZone;
  #guess: number;

  /** @param start an instant near the first time to be resolved */
  constructor(zone: TimeZone, start: number) {
    this.zone = zone;
    this.#guess = zone.offsetAt(start);
  }

  /**
   * The instant at which the zone's clock shows `wall`; undefined when none is found.
   *
   * @param daylight whether `wall` is meant in daylight saving time; undefined means: whatever is in force
   */
  resolve(wall: WallTime, daylight?: boolean): number | undefined {
    // The C library searches with a second in range and adds the rest afterwards.
    const second = Math.min(wall.second, 59);
    const wanted = wallSeconds({ ...wall, second });
    let found = this.#search(wanted, daylight);
    if (found === undefined) return undefined;
    this.#guess = wanted - found;
    found += wall.second - second;
    return found;
  }

  #search(wanted: number, daylight: boolean | undefined): number | undefined {
    const zone = this.zone;
    let candidate = wanted - this.#guess;
    let last = candidate;
    let lastButOne = candidate;
    let lastDaylight = false;
    for (let probes = 6; probes > 0; probes--) {
      const next = wanted - zone.offsetAt(candidate);
      if (next === candidate) return this.#withDaylight(wanted, candidate, daylight);
      const here = zone.isDaylight(candidate);
      // Two candidates in turn, each pointing at the other: the time does not exist. Daylight saving is preferred.
      const alternating = candidate === lastButOne && candidate !== last;
      if (alternating && (daylight === undefined ? here || !lastDaylight : here !== daylight)) return candidate;
      lastButOne = last;
      last = candidate;
      lastDaylight = here;
      candidate = next;
    }
    return undefined;
  }

  /** Where the flag contradicts the calendar, the offset of the nearest time with that flag counts. */
  #withDaylight(wanted: number, found: number, daylight: boolean | undefined): number {
    const zone = this.zone;
    if (daylight === undefined || zone.isDaylight(found) === daylight) return found;
    for (let distance = DAYLIGHT_STEP_SECONDS; distance < DAYLIGHT_REACH_SECONDS; distance += DAYLIGHT_STEP_SECONDS) {
      for (const near of [found - distance, found + distance]) {
        if (zone.isDaylight(near) === daylight) return wanted - zone.offsetAt(near);
      }
    }
    return found;
  }
}
