import { assertEquals, assertThrows } from "@std/assert";
import { TimeZone } from "../../src/calendar/time_zone.ts";
import { parseSpan } from "../../src/config/values.ts";
import {
  decideRetention,
  type RetentionPoint,
  type RetentionPolicy,
  type RetentionRules,
  type Span,
} from "../../src/task/retention.ts";

const NOW = new Date("2026-11-25T12:00:00Z");

function span(text: string): Span {
  const parsed = parseSpan(text);
  if ("must" in parsed) throw new Error(parsed.must);
  return parsed;
}

function policy(rules: Partial<Omit<RetentionRules, "grace">> = {}, zone = "UTC", grace = "0d"): RetentionPolicy {
  return { ...rules, grace: span(grace), zone: TimeZone.named(zone) };
}

function point(moment: string, more: Partial<RetentionPoint> = {}): RetentionPoint {
  const finishedAt = new Date(moment.length === 10 ? `${moment}T03:00:00Z` : moment);
  return { key: moment, task: "t", finishedAt, isWhole: true, holds: [], ...more };
}

/** What stays, the newest first, by the key. */
function kept(points: readonly RetentionPoint[], rules: RetentionPolicy, now = NOW): string[] {
  return decideRetention(points, { policies: new Map([["t", rules]]), now })
    .filter(({ keep }) => keep).map(({ point }) => point.key);
}

/** A backup each day, the newest first: `count` of them, up to 2026-11-20. */
function daily(count: number): RetentionPoint[] {
  return Array.from({ length: count }, (_, index) => {
    const day = new Date(Date.UTC(2026, 10, 20 - index));
    return point(day.toISOString().slice(0, 10));
  });
}

interface Case {
  name: string;
  points: readonly RetentionPoint[];
  rules: RetentionPolicy;
  kept: string[];
}

const YEARS = ["2026-11-01", "2026-06-01", "2026-01-01", "2025-12-31", "2025-01-01", "2024-07-01", "2023-02-28"];

const CASES: Case[] = [
  {
    name: "keep_last keeps so many of the newest",
    points: daily(5),
    rules: policy({ keepLast: 2 }),
    kept: ["2026-11-20", "2026-11-19"],
  },
  {
    name: "keep_last beyond what there is keeps all",
    points: daily(2),
    rules: policy({ keepLast: 9 }),
    kept: ["2026-11-20", "2026-11-19"],
  },
  {
    name: "keep_daily keeps the newest of each day",
    points: ["2026-11-20T22:00:00Z", "2026-11-20T01:00:00Z", "2026-11-19T09:00:00Z", "2026-11-18T09:00:00Z"].map((at) =>
      point(at)
    ),
    rules: policy({ keepDaily: 2 }),
    kept: ["2026-11-20T22:00:00Z", "2026-11-19T09:00:00Z"],
  },
  {
    name: "keep_daily counts days that have a backup, not days that have passed",
    points: [point("2026-11-20"), point("2026-10-01"), point("2026-02-01"), point("2026-01-01")],
    rules: policy({ keepDaily: 3 }),
    kept: ["2026-11-20", "2026-10-01", "2026-02-01"],
  },
  {
    name: "a day is that of the task's zone",
    points: [point("2026-11-20T22:30:00Z"), point("2026-11-20T21:30:00Z"), point("2026-11-01")],
    // In Moscow it is three hours later: 01:30 on the 21st and 00:30 on the 21st.
    rules: policy({ keepDaily: 1 }, "Europe/Moscow"),
    kept: ["2026-11-20T22:30:00Z"],
  },
  {
    name: "across midnight of the zone there are two days",
    points: [point("2026-11-20T22:30:00Z"), point("2026-11-20T20:30:00Z"), point("2026-11-01")],
    rules: policy({ keepDaily: 2 }, "Europe/Moscow"),
    kept: ["2026-11-20T22:30:00Z", "2026-11-20T20:30:00Z"],
  },
  {
    name: "the hour that comes twice when summer ends belongs to one day",
    points: [point("2026-10-25T01:30:00Z"), point("2026-10-25T00:30:00Z"), point("2026-10-24T21:30:00Z")],
    // 02:30 and 02:30 in Berlin, and 23:30 the day before.
    rules: policy({ keepDaily: 2 }, "Europe/Berlin"),
    kept: ["2026-10-25T01:30:00Z", "2026-10-24T21:30:00Z"],
  },
  {
    name: "keep_weekly begins weeks on Monday",
    // The 16th is a Monday.
    points: [point("2026-11-20"), point("2026-11-16"), point("2026-11-15"), point("2026-11-09"), point("2026-11-08")],
    rules: policy({ keepWeekly: 2 }),
    kept: ["2026-11-20", "2026-11-15"],
  },
  {
    name: "a week over the end of a year is one week",
    points: [point("2021-01-03"), point("2020-12-28"), point("2020-12-27"), point("2020-01-01")],
    rules: policy({ keepWeekly: 2 }),
    kept: ["2021-01-03", "2020-12-27"],
  },
  {
    name: "keep_monthly keeps the newest of each month",
    points: [point("2026-11-20"), point("2026-11-01"), point("2026-10-31"), point("2026-10-01"), point("2026-09-30")],
    rules: policy({ keepMonthly: 2 }),
    kept: ["2026-11-20", "2026-10-31"],
  },
  {
    name: "keep_yearly keeps the newest of each year",
    points: YEARS.map((day) => point(day)),
    rules: policy({ keepYearly: 3 }),
    kept: ["2026-11-01", "2025-12-31", "2024-07-01"],
  },
  {
    name: "where there are fewer years than asked for, the oldest backup stays as well",
    points: [point("2026-11-01"), point("2026-06-01"), point("2026-01-01")],
    rules: policy({ keepYearly: 5 }),
    kept: ["2026-11-01", "2026-01-01"],
  },
  {
    name: "rules add up: what any of them keeps stays",
    points: daily(40),
    rules: policy({ keepLast: 1, keepDaily: 2, keepWeekly: 2, keepMonthly: 2 }),
    // Days: 20, 19. Weeks: 20, 15. Months: 20 November, 31 October.
    kept: ["2026-11-20", "2026-11-19", "2026-11-15", "2026-10-31"],
  },
  {
    name: "keep_within counts from the newest backup, not from now",
    points: [point("2026-06-10"), point("2026-06-05"), point("2026-06-03T02:59:59Z")],
    rules: policy({ keepWithin: span("7d") }),
    kept: ["2026-06-10", "2026-06-05"],
  },
  {
    name: "keep_within takes the bound itself",
    points: [point("2026-06-10"), point("2026-06-03")],
    rules: policy({ keepWithin: span("1w") }),
    kept: ["2026-06-10", "2026-06-03"],
  },
  {
    name: "a month before 31 March is the last of February",
    points: [point("2026-03-31"), point("2026-02-28"), point("2026-02-27")],
    rules: policy({ keepWithin: span("1m") }),
    kept: ["2026-03-31", "2026-02-28"],
  },
  {
    name: "years, months, days and hours of keep_within add up",
    points: [point("2026-03-31T12:00:00Z"), point("2025-02-26T11:00:00Z"), point("2025-02-26T10:59:59Z")],
    rules: policy({ keepWithin: span("1y1m2d1h") }),
    kept: ["2026-03-31T12:00:00Z", "2025-02-26T11:00:00Z"],
  },
  {
    name: "keep_within is by the clock on the wall where summer began in between",
    // Berlin's clocks went from 02:00 to 03:00 on 29 March: 12:00 there is 10:00 UTC after it and 11:00 UTC before.
    points: [point("2026-03-29T10:00:00Z"), point("2026-03-28T11:00:00Z"), point("2026-03-28T10:59:00Z")],
    rules: policy({ keepWithin: span("1d") }, "Europe/Berlin"),
    kept: ["2026-03-29T10:00:00Z", "2026-03-28T11:00:00Z"],
  },
  {
    name: "the grace keeps what was the newest a while ago",
    points: [point("2026-11-23"), point("2026-11-16"), point("2026-11-09"), point("2026-11-02")],
    rules: policy({ keepLast: 1 }, "UTC", "7d"),
    kept: ["2026-11-23", "2026-11-16"],
  },
  {
    name: "what is younger than a day stays",
    points: [point("2026-11-25T11:00:00Z"), point("2026-11-24T13:00:00Z"), point("2026-11-24T11:00:00Z")],
    rules: policy({ keepLast: 1 }),
    kept: ["2026-11-25T11:00:00Z", "2026-11-24T13:00:00Z"],
  },
  {
    name: "what is of the future stays, and pushes nothing out",
    points: [point("2036-01-01"), point("2026-11-20"), point("2026-11-19"), point("2026-11-18")],
    rules: policy({ keepLast: 2 }),
    kept: ["2036-01-01", "2026-11-20", "2026-11-19"],
  },
  {
    name: "what is pinned stays",
    points: [
      point("2026-11-20"),
      point("2026-11-19"),
      point("2020-01-01", { holds: [{ protection: "pinned", reason: "pinned" }] }),
    ],
    rules: policy({ keepLast: 1 }),
    kept: ["2026-11-20", "2020-01-01"],
  },
  {
    name: "what stays takes along all that it builds on",
    points: [
      point("2026-11-20", { parent: "2026-11-19" }),
      point("2026-11-19", { parent: "2026-11-17" }),
      point("2026-11-18"),
      point("2026-11-17"),
      point("2026-11-16"),
    ],
    rules: policy({ keepLast: 1 }),
    kept: ["2026-11-20", "2026-11-19", "2026-11-17"],
  },
  {
    name: "a pin keeps what the pinned one builds on",
    points: [
      point("2026-11-20"),
      point("2026-11-19", { parent: "2026-11-18", holds: [{ protection: "pinned", reason: "pinned" }] }),
      point("2026-11-18"),
      point("2026-11-17"),
    ],
    rules: policy({ keepLast: 1 }),
    kept: ["2026-11-20", "2026-11-19", "2026-11-18"],
  },
  {
    name: "a chain that bites its own tail comes to an end",
    points: [
      point("2026-11-20", { parent: "2026-11-19" }),
      point("2026-11-19", { parent: "2026-11-20" }),
      point("2026-11-18"),
    ],
    rules: policy({ keepLast: 1 }),
    kept: ["2026-11-20", "2026-11-19"],
  },
  {
    name: "the newest of a database that is gone stays, however old it is",
    points: [point("2019-01-02"), point("2019-01-01")],
    rules: policy({ keepDaily: 1 }),
    kept: ["2019-01-02"],
  },
  {
    name: "one that lacks something counts for no rule",
    points: [point("2026-11-20"), point("2026-11-19", { isWhole: false }), point("2026-11-18"), point("2026-11-17")],
    rules: policy({ keepLast: 2 }),
    kept: ["2026-11-20", "2026-11-18"],
  },
  {
    name: "where the newest lacks something, the newest whole one stays, and so does the other",
    points: [point("2026-11-20", { isWhole: false }), point("2026-11-19"), point("2026-11-18")],
    rules: policy({ keepLast: 1 }),
    kept: ["2026-11-20", "2026-11-19"],
  },
  {
    name: "what would stay without a damaged one stays as well, and nothing else goes for that",
    points: [
      point("2026-11-20", { isDamaged: true }),
      point("2026-11-19"),
      point("2026-11-18", { isDamaged: true }),
      point("2026-11-17"),
      point("2026-11-16"),
    ],
    rules: policy({ keepLast: 2 }),
    kept: ["2026-11-20", "2026-11-19", "2026-11-17"],
  },
  {
    name: "where all are damaged, they stay as if nothing were known",
    points: [point("2026-11-20", { isDamaged: true }), point("2026-11-19", { isDamaged: true })],
    rules: policy({ keepLast: 1 }),
    kept: ["2026-11-20", "2026-11-19"],
  },
  {
    name: "where all are damaged but an old one, that one stays",
    points: [
      point("2026-11-20", { isDamaged: true }),
      point("2026-11-19", { isDamaged: true }),
      point("2026-11-18"),
      point("2026-11-17"),
    ],
    rules: policy({ keepLast: 1 }),
    kept: ["2026-11-20", "2026-11-19", "2026-11-18"],
  },
  {
    name: "where none is whole, all stay",
    points: [point("2026-11-20", { isWhole: false }), point("2026-11-19", { isWhole: false })],
    rules: policy({ keepLast: 1 }),
    kept: ["2026-11-20", "2026-11-19"],
  },
];

for (const { name, points, rules, kept: expected } of CASES) {
  Deno.test(`decideRetention(): ${name}`, () => {
    assertEquals(kept(points, rules), expected);
    assertEquals(kept(points.toReversed(), rules), expected, "whatever the order in which they are read");
  });
}

Deno.test("decideRetention() leaves the backups of tasks without a policy alone, and counts each task apart", () => {
  const points = [
    point("2026-11-20"),
    point("2026-11-19", { task: "other" }),
    point("2026-11-18", { task: "other" }),
    point("2026-11-17"),
    point("2026-11-16", { task: "second" }),
    point("2026-11-15", { task: "second" }),
  ];
  const policies = new Map([["t", policy({ keepLast: 1 })], ["second", policy({ keepLast: 1 })]]);
  const decided = decideRetention(points, { policies, now: NOW }).map(({ point, keep, reasons }) => [
    point.key,
    keep,
    reasons.join("; "),
  ]);
  assertEquals(decided, [
    ["2026-11-20", true, "the newest of its database; keep_last"],
    ["2026-11-19", true, 'no retention is set for the task "other"'],
    ["2026-11-18", true, 'no retention is set for the task "other"'],
    ["2026-11-17", false, "no rule keeps it"],
    ["2026-11-16", true, "keep_last"],
    ["2026-11-15", false, "no rule keeps it"],
  ]);
});

Deno.test("decideRetention() says why each stays", () => {
  const points = [point("2026-11-20", { parent: "2026-11-19" }), point("2026-11-19"), point("2026-11-01")];
  const decided = decideRetention(points, { policies: new Map([["t", policy({ keepWeekly: 1 })]]), now: NOW });
  assertEquals(decided.map(({ reasons }) => reasons), [
    ["the newest of its database", "keep_weekly: 2026-W47"],
    ["the backup of 2026-11-20T03:00:00.000Z needs it"],
    ["no rule keeps it"],
  ]);
  const others = [
    point("2036-01-01"),
    point("2026-11-20", { isDamaged: true }),
    point("2026-11-19"),
    point("2026-11-18", { isWhole: false }),
  ];
  const policies = new Map([["t", policy({ keepYearly: 2 })]]);
  assertEquals(decideRetention(others, { policies, now: NOW }).map(({ reasons }) => reasons), [
    ["it is of the future: look at the clocks", "younger than a day"],
    ["the newest of its database", "keep_yearly: 2026", "it was found damaged"],
    ["keep_yearly: the oldest"],
    ["it lacks something, so that it counts for no rule"],
  ]);
  const policyOfOne = new Map([["t", policy({ keepLast: 1 })]]);
  assertEquals(decideRetention(others, { policies: policyOfOne, now: NOW })[2]!.reasons, [
    "the newest of its database, as others were found damaged",
    "keep_last, as others were found damaged",
  ]);
});

Deno.test("decideRetention() never lets go a parent of what it keeps, nor the newest, whatever the rules", () => {
  let state = 7;
  const random = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    // Its lower bits repeat after a few calls.
    return Math.floor(state / 2 ** 32 * below);
  };
  let gone = 0;
  for (let round = 0; round < 500; round++) {
    const points: RetentionPoint[] = [];
    for (let index = random(30); index >= 0; index--) {
      const at = new Date(NOW.getTime() - random(800) * 86_400_000 - random(86_400_000)).toISOString();
      const parent = points.length > 0 && random(2) === 0 ? points[random(points.length)]!.key : undefined;
      points.push(point(at, { key: `${index} ${at}`, ...(parent === undefined ? {} : { parent }) }));
    }
    const rules = policy({ keepLast: random(3), keepDaily: random(4), keepMonthly: random(4), keepYearly: random(2) });
    const decided = decideRetention(points, { policies: new Map([["t", rules]]), now: NOW });
    const stays = new Set(decided.filter(({ keep }) => keep).map(({ point }) => point.key));
    for (const { keep, point } of decided) {
      if (keep && point.parent !== undefined && !stays.has(point.parent)) {
        throw new Error(`round ${round}: ${point.key}`);
      }
    }
    if (!decided[0]!.keep) throw new Error(`round ${round}: the newest goes`);
    gone += points.length - stays.size;
  }
  if (gone < 1000) throw new Error(`Only ${gone} went: nothing was tried`);
});

Deno.test("decideRetention() refuses two backups with one key, so that none goes by its double", () => {
  const twice = [point("2026-11-20"), point("2026-11-19"), point("2026-11-20")];
  assertThrows(() => kept(twice, policy({ keepLast: 1 })), Error, "Two backups have one key");
});
