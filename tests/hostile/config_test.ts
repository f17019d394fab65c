/** Configs, schedules, names and arguments that nobody would write, or somebody would. */
import {
  CalendarError,
  formatCalendar,
  nextElapse,
  parseCalendar,
  previousElapse,
} from "../../src/calendar/calendar.ts";
import { parseConfig } from "../../src/config/config.ts";
import { ConfigError } from "../../src/errors.ts";
import { HOSTILE_TEXTS } from "./dice.ts";
import { PASSWORD, problemOfText, secretIn, testSurface } from "./cases.ts";

const CONFIG = `# A comment
database:
  url: http://[::1]:5984
  login: admin
  password: "${PASSWORD}"
task:
  weekly:
    cron: "Sat *-*-1..7 18:00:00"
    databases: ["account/.*", media]
    exclude: [_users]
    delay: 1.5
    chunk: 1000
    timezone: Europe/Berlin
  "every day": {databases: [".*"], parallel: 2, attachments: false}
bucket: s3://bucket/folder
region: eu-central-1
token: AKIA
secret: '${PASSWORD}'
prefix: backup
suffix: couchdb
loki: {url: "http://host:3100/loki/api/v1/push", labels: {a: b}}
prometheus: "http://host:9091"
`;

/** Pieces of YAML, most of them wrong wherever they are put. */
const YAML_PIECES: readonly string[] = [
  "&a [",
  "*a",
  "&a {x: *a}",
  "<<: *a",
  "!!binary aGk=",
  "!!js/function 'x'",
  "!!set {a}",
  "!<tag:x> y",
  "? ",
  "- - - ",
  "{{{{",
  "]]]]",
  ": ",
  "|\n",
  ">-\n",
  "---\n",
  "...\n",
  "%YAML 9.9\n",
  "# ",
  "0o17",
  "2026-01-01",
  ".inf",
  ".nan",
  "~",
  "__proto__: {admin: true}\n",
  "constructor: {prototype: {x: 1}}\n",
  "  toString: 1\n",
  "password: x\n",
  `url: http://admin:${encodeURIComponent(PASSWORD)}@host:5984\n`,
  "{".repeat(3000),
  "[".repeat(3000),
  "- ".repeat(3000),
  `${"k".repeat(5000)}: 1\n`,
  "a: ".repeat(50),
  '"\\x00"',
  '"\\ud800"',
  "${HOME}",
  "${PASSWORD}",
  "${__proto__}",
];

/** Each line names the one above nine times: expanded it is a hundred million values. */
function aliasBomb(depth: number): string {
  const lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"];
  for (let level = 1; level <= depth; level++) {
    lines.push(`a${level}: &a${level} [${Array.from({ length: 9 }, () => `*a${level - 1}`).join(", ")}]`);
  }
  return `${lines.join("\n")}\n`;
}

testSurface({
  name: "config",
  cases: 1200,
  make: (dice) => {
    if (dice.oneIn(60)) return aliasBomb(dice.below(10)) + CONFIG;
    if (dice.oneIn(40)) return `${dice.pick(["\uFEFF", "\0", "\t", "\uFFFE"])}${CONFIG}`;
    if (dice.oneIn(30)) return dice.unicode(dice.below(200));
    if (dice.oneIn(4)) {
      // A value in place of another, whatever its type.
      const lines = CONFIG.split("\n");
      const at = dice.below(lines.length);
      lines[at] = lines[at]!.replace(/: .*$/, () => `: ${JSON.stringify(dice.value())}`);
      return lines.join("\n");
    }
    if (dice.oneIn(6)) {
      const lines = CONFIG.split("\n");
      lines.splice(dice.below(lines.length), 0, dice.pick(lines), dice.pick(YAML_PIECES));
      return lines.join("\n");
    }
    return dice.mutateText(CONFIG, dice.oneIn(3) ? HOSTILE_TEXTS : YAML_PIECES);
  },
  run: (text) => {
    const config = parseConfig(text, { file: "config.yaml", env: { HOME: "/home/x", PASSWORD } });
    const problem = problemOfText(`config\n${config.warnings.join("\n")}`) ?? secretIn(JSON.stringify(config));
    // What stood outside of every place for a password was never one.
    if (problem !== undefined && !isOutOfPlace(text)) throw new Error(problem);
    if (({} as Record<string, unknown>)["admin"] !== undefined) throw new Error("A prototype was changed");
  },
});

/** Whether a text has its password elsewhere than behind the keys that hold one. */
function isOutOfPlace(text: string): boolean {
  return text.split(PASSWORD).length !== 3 || text.split(encodeURIComponent(PASSWORD)).length > 1 ||
    text.includes("${PASSWORD}");
}

const SCHEDULES: readonly string[] = [
  "Sat *-*-1..7 18:00:00",
  "Mon..Fri *-*-* 00/4:15 Europe/Berlin",
  "*-*~03/1 23:59:59.999999",
  "hourly",
  "2026-02-29 12:00",
  "Mon,Tue 2026..2030/2-01,06-01..15/3 1,2..9/2:0/15:30 UTC",
];
const SCHEDULE_PIECES: readonly string[] = [
  ..."*-:,./~ ",
  "..",
  "0",
  "00",
  "99",
  "9999999999999999999999",
  "/0",
  "/1",
  "-0",
  "1970",
  "2199",
  "2200",
  "Sat",
  "sunday",
  "UTC",
  "Europe/Berlin",
  "../../etc/passwd",
  "@daily",
  "0.0000001",
  "~31",
  ...HOSTILE_TEXTS,
];

testSurface({
  name: "schedule",
  cases: 1500,
  allowed: [CalendarError],
  make: (dice) => {
    const text = dice.mutateText(dice.pick(SCHEDULES), SCHEDULE_PIECES);
    if (!dice.oneIn(3)) return text;
    return Array.from({ length: dice.below(9) }, () => dice.pick(SCHEDULE_PIECES)).join("");
  },
  run: (text) => {
    const calendar = parseCalendar(text);
    const now = new Date("2026-11-25T18:00:00Z");
    const next = nextElapse(calendar, now, "Europe/Berlin");
    const previous = previousElapse(calendar, now, "Europe/Berlin");
    if (next !== undefined && !(next > now)) throw new Error(`The next elapse is ${next}`);
    if (previous !== undefined && !(previous <= now)) throw new Error(`The elapse before is ${previous}`);
    const normal = formatCalendar(calendar);
    if (formatCalendar(parseCalendar(normal)) !== normal) throw new Error(`"${normal}" is not read as it is written`);
  },
});

testSurface({
  name: "pattern",
  cases: 400,
  allowed: [ConfigError],
  make: (dice) =>
    dice.mutateText("account%2F[a-z]+(?:x|y){2,3}\\d", [
      ..."\\[](){}*+?|^$.,-%",
      "(?<",
      "\\u{",
      "\\p{",
      "[[:alpha:]]",
      ...HOSTILE_TEXTS,
    ]),
  run: (pattern) => {
    const text = CONFIG.replace('["account/.*", media]', () => `[${JSON.stringify(pattern)}]`);
    parseConfig(text, { file: "config.yaml", env: {} });
  },
});
