/**
 * The small words of an OnCalendar expression: numbers, ranges, steps and lists, read from left to right, and the
 * error that points at the place where reading ends.
 */
import { UsageError } from "../errors.ts";

/** One value, or values in equal steps, that a part of a date or time may have. */
export interface Component {
  /** The first value. */
  start: number;
  /** The last value; absent where the steps go on to the end of the range. */
  stop?: number;
  /** The step; 0 where only `start` is meant. */
  repeat: number;
}

/** A component and where it stands in the expression. */
export interface Placed extends Component {
  at: number;
}

/** An OnCalendar expression is not one. The message shows it, with a caret under the place. */
export class CalendarError extends UsageError {
  /** What was to be read. */
  readonly expression: string;
  /** The offending place in it, counted in UTF-16 units from 0. */
  readonly offset: number;
  /** What is wrong there, in one line. */
  readonly reason: string;

  constructor(expression: string, offset: number, reason: string, hint: string) {
    // One line, whatever is in it, so that the caret stands under its place.
    const line = expression.replace(/\p{Cc}/gu, " ");
    super(`Cannot read schedule "${line}": ${reason}\n  ${line}\n  ${" ".repeat(offset)}^`, { hint });
    this.expression = expression;
    this.offset = offset;
    this.reason = reason;
  }
}

/** Microseconds in a second: seconds are kept as microseconds, since they may have a fraction. */
export const MICROS = 1_000_000;
/** systemd's own limit; longer lists are refused. */
const MAX_LIST_LENGTH = 241;
/** What systemd's `int` holds. It matters for a step, which may otherwise be longer than its range (`1..3/100`). */
const MAX_NUMBER = 2 ** 31 - 1;

/** What may be written, for an error that cannot say it more closely. */
export const HINT: string = "Write [weekdays] [[year-]month-day] [hour:minute[:second]] [zone], such as " +
  `"Sat *-*-1..7 18:00:00 Europe/Berlin", or minutely, hourly, daily, weekly, monthly, quarterly, semiannually, yearly`;

/** An expression and how far it is read. */
export class Reader {
  /** The whole expression, for messages. */
  readonly expression: string;
  /** What is to be read: the expression without its zone. */
  text: string;
  at = 0;

  constructor(expression: string, text: string) {
    this.expression = expression;
    this.text = text;
  }

  /** Gives up at `at`. */
  fail(at: number, reason: string): never {
    throw new CalendarError(this.expression, at, reason, HINT);
  }

  /** The next character, or the one after `ahead` more; "" at the end. */
  peek(ahead = 0): string {
    return this.text.charAt(this.at + ahead);
  }

  /** How what stands at `at` is spoken of. */
  shown(at: number = this.at): string {
    const rest = this.text.slice(at);
    return rest === "" ? "the end" : `"${rest.match(/^[A-Za-z]+/)?.[0] ?? [...rest][0]}"`;
  }

  /** Reads on over what a sticky pattern matches here; undefined where it does not. */
  take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.at;
    const taken = pattern.exec(this.text)?.[0];
    this.at += taken?.length ?? 0;
    return taken;
  }

  skipSpaces(): void {
    while (this.peek() === " ") this.at++;
  }

  /** `*`, or components with commas between them. Seconds are read as microseconds. */
  list(seconds: boolean): Placed[] {
    if (this.peek() === "*") {
      const at = this.at++;
      if (this.peek() === "/") this.fail(at, `steps need a beginning: write "0/5" or "1/5" instead of "*/5"`);
      return seconds ? [{ start: 0, repeat: MICROS, at }] : [];
    }
    const list = [this.#component(seconds)];
    while (this.peek() === ",") {
      this.at++;
      if (list.length === MAX_LIST_LENGTH) this.fail(this.at, `a list has at most ${MAX_LIST_LENGTH} entries`);
      list.push(this.#component(seconds));
    }
    return list;
  }

  /** `5`, `5..9`, `5/2` or `5..9/2`. */
  #component(seconds: boolean): Placed {
    const at = this.at;
    const start = this.#number(seconds);
    let stop: number | undefined;
    let repeat = 0;
    if (this.peek() === "." && this.peek(1) === ".") {
      this.at += 2;
      stop = this.#number(seconds);
      repeat = seconds ? MICROS : 1;
    }
    if (this.peek() === "/") {
      const repeatAt = ++this.at;
      repeat = this.#number(seconds);
      if (repeat === 0) this.fail(repeatAt, "a step of 0 never moves on");
    } else if (seconds && stop !== undefined && start + repeat > stop) {
      this.fail(at, "a range of seconds without a step goes in whole seconds, and this one is shorter than one");
    }
    if (!["", " ", ",", "-", "~", ":"].includes(this.peek())) {
      const slip = this.peek() === "." ? `; a range is written "1..7"` : "";
      this.fail(this.at, `${this.shown()} cannot follow a number${slip}`);
    }
    return { start, ...(stop === undefined ? {} : { stop }), repeat, at };
  }

  /** A whole number, or seconds with a fraction, which is rounded to microseconds. */
  #number(seconds: boolean): number {
    const at = this.at;
    const whole = this.take(/\d+/y);
    if (whole === undefined) {
      const what = at === 0 ? `a weekday, a date, a time or a word such as "daily"` : "a number";
      this.fail(at, `${what} is needed here, not ${this.shown()}`);
    }
    let value = Number(whole) * (seconds ? MICROS : 1);
    // One dot is a decimal point, two are a range.
    if (seconds && this.peek() === "." && this.peek(1) !== ".") {
      const fractionAt = ++this.at;
      const digits = this.take(/\d+/y);
      if (digits === undefined) this.fail(fractionAt, "digits must follow the decimal point");
      value += Number(digits.slice(0, 6).padEnd(6, "0")) + (digits.charAt(6) >= "5" ? 1 : 0);
    }
    if (value > MAX_NUMBER) this.fail(at, "the number is too large");
    return value;
  }
}
