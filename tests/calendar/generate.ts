/**
 * Makes OnCalendar expressions of every kind, with default zones and base times to ask about, from a seed: the same
 * seed always gives the same cases. About one in six is not a valid expression.
 *
 * Left out, because this program differs on purpose: abbreviations of the machine's own zone (`12:00 CET` where the
 * machine is in Berlin), which systemd reads according to the machine, and time stamps before the year 100
 * (`@-60000000000`), which systemd takes for two-digit years. And base times near a clock that was put back without
 * daylight saving ending (Pyongyang in 2015), for which systemd's answer depends on what its process was asked before.
 */

/** An expression and where and when to ask for its elapses. */
export interface CalendarCase {
  expression: string;
  /** The machine's zone, as in `TZ`. */
  timeZone: string;
  /** Seconds since 1970, after which elapses are asked for. */
  bases: number[];
}

/** Zones with some instants near which their clocks change, in seconds since 1970. */
const ZONES: Record<string, number[]> = {
  "UTC": [1709164800, 1772323200, 1798675200],
  "Europe/Berlin": [1774746000, 1792890000, 1711846800, 828234000],
  "Europe/London": [1774746000, 1792890000, 1698541200],
  // The winter clock is the exception here.
  "Europe/Dublin": [1774746000, 1792890000, 1743296400],
  "Africa/Casablanca": [1771120800, 1774144800, 1740276000, 1743904800],
  "America/New_York": [1772953200, 1793512800, 1710054000],
  "America/St_Johns": [1772947800, 1793507400, 1320546660],
  // Clocks changed at midnight here.
  "America/Sao_Paulo": [1541300400, 1550368800, 1508036400, 1518919200],
  "America/Havana": [1772946000, 1793509200, 1710046800],
  "Asia/Beirut": [1774735200, 1792875600],
  "Australia/Lord_Howe": [1775314800, 1791041400, 1728142200],
  "Australia/Sydney": [1775318400, 1791043200],
  "Pacific/Chatham": [1775311200, 1790431200],
  "America/Santiago": [1775358000, 1788667200],
  "Asia/Kolkata": [1774746000, 1798675200],
  "Asia/Kathmandu": [1774746000, 504901800],
  "Pacific/Apia": [1325239200, 1616853600],
  "Asia/Pyongyang": [1525446000],
};

/** Written after an expression. The machine's zone never has one of the abbreviations as its own. */
const SUFFIXES = [
  "UTC",
  "utc",
  "Europe/Berlin",
  "America/New_York",
  "Australia/Lord_Howe",
  "America/Sao_Paulo",
  "Asia/Kolkata",
  "Asia/Calcutta",
  "Africa/Casablanca",
  "Europe/Dublin",
  "Etc/GMT+5",
  "Japan",
  "America/Argentina/Buenos_Aires",
];

const NOT_ZONES = [
  "PST",
  "XYZ",
  "europe/berlin",
  "Europe/Nowhere",
  "Berlin",
  "+01:00",
  "SystemV/PST8PDT",
  "/UTC",
  "Etc/",
];

const SHORTHANDS = [
  ...["minutely", "hourly", "daily", "weekly", "monthly", "quarterly", "semiannually", "yearly", "annually", "anually"],
  ...["biannually", "bi-annually", "semi-annually", "Daily", "HOURLY"],
];

/** Each probes one rule of the grammar. */
const EDGES = [
  ...[
    "",
    " ",
    "*",
    "12",
    "Mon",
    "Mon,",
    "Mon, 12:00",
    "Mon,,Tue",
    ",Mon",
    "Mon..",
    "Mon.. 12:00",
    "Mon.Tue",
    "Mon-Wed",
  ],
  ...["Mon..Wed..Fri", "Mon..Wed-Fri", "Fri..Mon", "Mon..Mon", "Monday-Sunday", "Mond", "mOnDaY 1:2", "Mon  12:00"],
  ...["Mon Tue", "Mon..Sun", "Sat,Thu,Mon..Wed,Sat..Sun", "Wed..Sat,Tue 12-10-15 1:2:3", "Mon,Sun 12-*-* 2,1:23"],
  ...[
    "*-*~*",
    "*~1",
    "*-*~1",
    "*-*~28",
    "*-*~29",
    "*-*~0",
    "*-02~03",
    "Mon *-05~07/1",
    "*-*~1..7/3",
    "*-*~7..1",
    "02~03",
  ],
  ...["*~02-03", "*~02~03", "2012~02-03", "*-*~1/1", "*-*~9/3", "*-*~28/27", "*-*~28/28", "*-*~5..5", "*-*~3,7/2,1"],
  ...["*-02-30", "*-02-29", "Mon *-02-29", "*-04-31", "2100-02-29", "*-*-31", "Sat *-*-1..7 18:00:00", "2199-12-31"],
  ...["69-1-1", "70-1-1", "99-1-1", "100-1-1", "0-1-1", "1969-1-1", "1970-1-1", "2199-12-31 23:59:59", "2200-1-1"],
  ...[
    "12..14-1-1",
    "69..70-1-1",
    "70..69-1-1",
    "1970/1-1-1",
    "1970/229-1-1",
    "1970/230-1-1",
    "2026/4-2-29",
    "0002026-1-1",
  ],
  ...[
    "1..3/10-1",
    "*-1..3/2",
    "*-1..3/3",
    "*-1..3/2147483647-1",
    "*-1..3/2147483648-1",
    "*-5..5/9-1",
    "*-12/1-1",
    "*-11/1-1",
  ],
  ...["*-*/2-1", "*/2:00", "*,5:00", "5,*:00", "*:*", "*:*:*", "*:*:0/1", "*:*:0/1,30", "*:*:30,0/1", "*:*:0/1,0.5"],
  ...[
    "*:*:0..30",
    "*:*:5..5",
    "*:*:5..5/1",
    "*:*:5.5..6",
    "*:*:5.5..6.5",
    "*:*:5..5.5/0.1",
    "*:*:0..5/2147",
    "*:*:0..5/2148",
  ],
  ...["05:40:23.4200004/3.1700005", "*:*:59.9999999", "*:*:59.9999994", "*:*:0.0000004/0.0000006", "*:*:0/0.0000004"],
  ...[
    "*:*:5.",
    "*:*:5.x",
    "*:*:5...7",
    "*:*:5.5..7.5",
    "*:*:.5",
    "*:*:0/7.3",
    "*:*:0/0.7",
    "*:*:60",
    "*:*:0/60",
    "*:*:0/59",
  ],
  ...[
    "*:*:0.123456789",
    "24:00",
    "23:60",
    "1:2:3:4",
    "1:2:",
    "1:",
    ":1",
    "1:2 ",
    " 1:2",
    "1:2:3 ",
    "1::3",
    "1 :2",
    "12:00  UTC",
  ],
  ...[
    "*-*-* ",
    "*-*-*  12:00",
    "*-*-*  UTC",
    "Mon  UTC",
    "UTC",
    " UTC",
    "daily UTC",
    "daily  UTC",
    "12:00 UTC UTC",
    "12:00 UT",
  ],
  ...[
    "@0",
    "@1767463200",
    "@1767463200 UTC",
    "@1767463200 Europe/Berlin",
    "Mon @1767463200",
    "Sat @1767463200",
    "@",
    "@ 5",
  ],
  ...[
    "@+5",
    "@-5",
    "@-0",
    "@5 ",
    "@5.5",
    "@5 12:00",
    "@7258118399",
    "@7258118400",
    "@99999999999999999999",
    "@1e9",
    "@ 7 UTC",
  ],
  ...[
    "2012-10",
    "10-15",
    "10-15 ",
    "2012-10-15-1",
    "2012-10-15T12:00",
    "2012--15",
    "--",
    "-",
    "~",
    "1,2,:00",
    "1,,2:00",
    "5/0:00",
  ],
  ...[
    "1-3:00",
    "mon..wed",
    "fri *-*~1..7",
    "Sun *-03-25..31 02:30",
    "Sun *-10-25..31 02:30",
    "0 18 * * 6",
    "@daily",
    "*-1-1..31/30",
  ],
  ...[
    "2012-10-15 1:2:3 Europe/Berlin",
    "12:00 Europe/Berlin UTC",
    "12:00 UTC Europe/Berlin",
    "weekly Pacific/Auckland",
    "week",
  ],
  ...[
    "*-12-31 23:59:59.999999",
    "1..12-31",
    "0-0",
    "0:0",
    "00000000:0",
    "*-13-1",
    "*-0-1",
    "*-*-0",
    "*-*-32",
    "Mon 0:0:0 Mon",
  ],
  ...[`${Array(241).fill("1").join(",")}:00`, `${Array(242).fill("1").join(",")}:00`],
];

/** Each probes one rule about nights in which clocks change. */
const NIGHTS: CalendarCase[] = [
  // A month's end is sought in the month after, and what is resolved there decides between two showings of 02:30.
  { expression: "*-*~7 2:30", timeZone: "Europe/Berlin", bases: [1792886400, 1792887000, 1792888200] },
  { expression: "*-*~7..7 2:30", timeZone: "Europe/Berlin", bases: [1792886400, 1792887000] },
  // A step over the end of the last minute before clocks go forward.
  { expression: "*:*:0/7", timeZone: "Europe/Dublin", bases: [1774745930, 1774745997] },
  { expression: "*:*:0/7", timeZone: "Europe/Berlin", bases: [1774745930, 1774745997] },
  // A year that begins with a gap.
  { expression: "1986-01-01 3:00", timeZone: "Asia/Kathmandu", bases: [504865800] },
  { expression: "*-*-1 00:05", timeZone: "Asia/Kathmandu", bases: [504865800] },
  // Midnight exists twice, or not at all.
  { expression: "daily", timeZone: "America/Havana", bases: [1793419200, 1793505900] },
  { expression: "daily", timeZone: "America/Sao_Paulo", bases: [1541214000, 1550286000] },
  // A whole day is missing.
  { expression: "*-12-30 12:00", timeZone: "Pacific/Apia", bases: [1324000000] },
];

/** Mulberry32: small, and the same everywhere. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The first `count` cases of that seed; the edges of the grammar and the nights come first. */
export function generateCalendars(seed: number, count: number): CalendarCase[] {
  const next = random(seed);
  const integer = (from: number, to: number) => from + Math.floor(next() * (to - from + 1));
  const chance = (share: number) => next() < share;
  const pick = <T>(list: readonly T[]): T => list[integer(0, list.length - 1)]!;

  // A few instants per zone, so that one process can be asked for many expressions at once.
  const instants = new Map(
    Object.entries(ZONES).map(([zone, changes]) => [
      zone,
      changes.flatMap((
        change,
      ) => [change - integer(1, 40) * 3600, change - integer(0, 7200), change + integer(0, 5400)])
        .concat(integer(0, 4_000_000_000)),
    ]),
  );

  const value = (from: number, to: number) => {
    const digits = String(integer(from, to));
    return chance(0.5) ? digits.padStart(2, "0") : digits;
  };

  function component(from: number, to: number): string {
    const roll = next();
    if (roll < 0.6) return value(from, to);
    const low = integer(from, to);
    if (roll < 0.75) return `${low}..${integer(low, to)}`;
    const step = integer(1, Math.max(1, Math.floor((to - from) / 3)));
    if (roll < 0.9) return `${chance(0.5) ? from : low}/${step}`;
    return `${low}..${integer(low, to)}/${step}`;
  }

  function list(from: number, to: number, stars: number): string {
    if (chance(stars)) return "*";
    const entries = [component(from, to)];
    while (chance(0.25) && entries.length < 5) entries.push(component(from, to));
    return entries.join(",");
  }

  function year(): string {
    const roll = next();
    if (roll < 0.75) return "*";
    if (roll < 0.8) return value(0, 99);
    if (roll < 0.85) return `${integer(1970, 2030)}/${integer(1, 9)}`;
    return list(2010, 2032, 0);
  }

  function date(): string {
    const month = chance(0.3) ? pick(["3", "10", "11", "2", "03,10", "4"]) : list(1, 12, 0.6);
    const day = chance(0.2)
      ? `~${list(1, 28, 0.05)}`
      : `-${chance(0.2) ? pick(["1..7", "25..31", "8..14", "29", "31", "30,31", "1"]) : list(1, 31, 0.4)}`;
    return (chance(0.85) ? `${year()}-` : "") + month + day;
  }

  function seconds(): string {
    if (chance(0.7)) return list(0, 59, 0.3);
    const fraction = () => `.${String(integer(0, 10 ** integer(1, 8)))}`;
    const low = integer(0, 58);
    return pick([
      `${low}${fraction()}`,
      `${low}${fraction()}/${integer(0, 20)}${fraction()}`,
      `0/${integer(0, 20)}${fraction()}`,
      `${low}..${integer(low, 59)}${fraction()}/${integer(0, 3)}${fraction()}`,
      `${low},${low}${fraction()}`,
    ]);
  }

  function time(): string {
    // Clocks change at night.
    const hour = chance(0.5)
      ? pick(["0", "1", "2", "3", "23", "0..3", "1,2", "2/1", "*", "0/6", "2..3"])
      : list(0, 23, 0.3);
    const minute = chance(0.4) ? pick(["0", "30", "15", "0/15", "59", "45", "*", "0/40"]) : list(0, 59, 0.2);
    return `${hour}:${minute}` + (chance(0.4) ? `:${seconds()}` : "");
  }

  function weekdays(): string {
    const names = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    const long = ["Monday", "TUESDAY", "wednesday", "Thursday", "friday", "Saturday", "sunday"];
    const entry = () => {
      const first = integer(0, 6);
      const name = (day: number) => pick([names, names, long])[day]!;
      return chance(0.3) ? `${name(first)}${pick(["..", "..", "-"])}${name(integer(first, 6))}` : name(first);
    };
    return Array.from({ length: pick([1, 1, 2, 3]) }, entry).join(",") + (chance(0.05) ? "," : "");
  }

  function valid(): string {
    const roll = next();
    const words = roll < 0.04 ? [pick(SHORTHANDS)] : roll < 0.06 ? [`@${integer(0, 7_258_118_399)}`] : [
      ...(chance(0.35) ? [weekdays()] : []),
      ...(chance(0.75) ? [date()] : []),
      ...(chance(0.85) ? [time()] : []),
    ];
    if (words.length === 0) words.push(time());
    if (chance(0.25)) words.push(pick(SUFFIXES));
    return words.join(" ");
  }

  /** One slip of the finger. */
  function damaged(expression: string): string {
    if (chance(0.15)) return `${expression} ${pick(NOT_ZONES)}`;
    const at = integer(0, expression.length);
    const typed = pick([..." ,.-/~:*0159@Mx"]);
    return expression.slice(0, at) + (chance(0.3) ? "" : typed) + expression.slice(at + (chance(0.5) ? 1 : 0));
  }

  return Array.from({ length: count }, (_, index) => {
    const timeZone = pick(Object.keys(ZONES));
    const night = NIGHTS[index - EDGES.length];
    if (night !== undefined) return night;
    const expression = EDGES[index] ?? (chance(0.18) ? damaged(valid()) : valid());
    const bases = Array.from({ length: 3 }, () => pick(instants.get(timeZone)!));
    return { expression, timeZone, bases: [...new Set(bases)].sort((a, b) => a - b) };
  });
}
