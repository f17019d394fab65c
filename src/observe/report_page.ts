/**
 * A report as one page of HTML: what a person looks at first stands in it as text and drawings, and the databases,
 * however many, as data that a script shows as far as they are on the screen. In: the facts. Out: a file that loads
 * nothing from anywhere; its policy forbids that, and any script but its own. Names are whatever somebody called a
 * database. Pure.
 */
import { createHash } from "node:crypto";
import { counted, formatCount, formatSeconds, formatSize } from "./figures.ts";
import { printable } from "./logfmt.ts";
import { dateOfDay, type ReportData, type ReportedDatabase, type ReportedTask, ticksOf } from "./report_data.ts";
import { REPORT_SCRIPT, REPORT_STYLE } from "./report_parts.ts";

/** How many of the databases with the oldest restore points are shown where the page's script does not run. */
const OLDEST = 20;
/** How many failures of a task are shown. */
const MOST_FAILURES = 50;
const MOST_RUNS_DRAWN = 90;
/** How many failures of a task are shown unfolded: more would push everything below off the screen. */
const MOST_FAILURES_OPEN = 10;
/** The least height of what failed, of the 80 units of a day: it must be seen among ten thousand databases, too. */
const LEAST_FAILED_HEIGHT = 4;

/** The page. */
export function formatReportPage(data: ReportData): string {
  const { made_at, from, to, databases } = data;
  const policy = `default-src 'none'; style-src '${hashOf(REPORT_STYLE)}'; script-src '${hashOf(REPORT_SCRIPT)}'`;
  const backups = databases.reduce((sum, one) => sum + one.backups, 0);
  const failing = data.tasks.reduce((sum, { failed }) => sum + failed.length, 0);
  const ticks = ticksOf(from, data.by_day.bytes.length);
  const stored = data.by_day.bytes.reduce((sum, bytes) => sum + bytes, 0);
  const facts = [
    ["Databases", formatCount(databases.length)],
    ["Restore points", formatCount(backups)],
    ["Stored in these days", formatSize(stored)],
    ["Not saved by the last runs", formatCount(failing)],
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Backups of CouchDB, ${escape(to)}</title>
<style>${REPORT_STYLE}</style>
</head>
<body>
<header>
<h1>Backups of CouchDB</h1>
<p>${escape(from)} to ${escape(to)}, made ${moment(made_at)}. Days and times are UTC.</p>
<p class="verdict ${data.ok ? "good" : "bad"}">${data.ok ? "✓ All is well" : "✗ Something needs attention"}</p>
</header>
<dl class="facts">${facts.map(([name, value]) => `<div><dt>${name}</dt><dd>${value}</dd></div>`).join("")}</dl>
<section>
<h2>Tasks</h2>
${formatTasks(data.tasks)}
${formatProofs(data.proofs)}
</section>
<section>
<h2>Day by day</h2>
${drawDays(data)}
</section>
<section>
<h2>Oldest restore points</h2>
${formatOldest(databases)}
</section>
<section id="all">
<h2>Databases</h2>
<noscript><p>Without scripts this page shows what stands above; the facts of each database are in its source.</p></noscript>
<div class="tools"><label>Search <input id="search" type="search" autocomplete="off" spellcheck="false"></label>
<label>Show <select id="show"><option value="">all</option><option value="failed">not saved last</option><option value="late">late</option><option value="unreadable">with unreadable documents</option></select></label>
<label>Order <select id="order"><option value="name">name</option><option value="age">age</option><option value="size">size</option><option value="depth">chain</option></select></label>
<output id="count"></output></div>
<p class="legend"><span><i class="f"></i>full</span> <span><i class="i"></i>incremental</span> <span><i class="same"></i>unchanged</span> <span><i class="u"></i>lacks unreadable documents</span> <span><i class="x"></i>failed</span> <span><i class="l"></i>late</span></p>
<div id="detail" hidden></div>
<div class="row head"><span>database</span><span class="n">age</span><span class="n docs">documents</span><span class="n">size</span><span class="n depth" title="increments since the last full backup">chain</span><span>${
    drawTicks(from, data.by_day.bytes.length)
  }</span></div>
<div id="list" tabindex="0"><div id="space"></div></div>
</section>
<script type="application/json" id="data">${jsonIn({ from, to, ticks, databases })}</script>
<script>${REPORT_SCRIPT}</script>
</body>
</html>
`;
}

function formatTasks(tasks: readonly ReportedTask[]): string {
  const rows = tasks.map((task) => {
    const { state, ok, last_complete_at, age_seconds, next, databases, failed, error, runs_unread } = task;
    const cells = [
      `<th scope="row">${escape(task.task)}</th>`,
      `<td class="${ok ? "good" : "bad"}">${ok ? "✓" : "✗"} ${escape(state)}</td>`,
      `<td>${last_complete_at === null ? "never" : moment(last_complete_at)}</td>`,
      `<td class="n">${age_seconds === null ? "" : formatSeconds(age_seconds)}</td>`,
      `<td class="n">${databases === null ? "" : formatCount(databases)}</td>`,
      `<td class="n">${failed.length === 0 ? "" : formatCount(failed.length)}</td>`,
      `<td>${next === null ? "" : moment(next)}</td>`,
      `<td>${drawRuns(task)}</td>`,
    ];
    const unread = runs_unread === 0
      ? ""
      : `<tr><td colspan="8" class="bad">The reports of ${counted(runs_unread, "run")} cannot be read: ` +
        "what these did not save is not shown</td></tr>";
    const why = error === null ? "" : `<tr><td colspan="8" class="bad">${escape(error)}</td></tr>`;
    return `<tr>${cells.join("")}</tr>${why}${unread}${formatFailures(failed)}`;
  });
  const heads = ["Task", "State", "Last complete", "Age", "Databases", "Failed", "Next", "Runs, by how long they took"];
  const head = heads.map(formatHeading).join("");
  return `<div class="wide"><table><thead><tr>${head}</tr></thead><tbody>${rows.join("\n")}</tbody></table></div>`;
}

/** Whether anybody has looked if the backups can be restored. */
function formatProofs({ verify, test_restore }: ReportData["proofs"]): string {
  const told = [["verify --all", verify], ["test-restore", test_restore]] as const;
  const items = told.map(([command, proof]) => {
    if (proof === null) return `<li><b>${command}</b>: has not been run yet</li>`;
    const { at, ok, backups, backups_in_all, faulty, undecided = 0, last_ok_at } = proof;
    const found = ok ? "nothing is wrong" : `something is wrong with ${formatCount(faulty)}`;
    const unknown = undecided === 0 ? "" : `, ${formatCount(undecided)} could not be looked at`;
    const before = ok ? "" : last_ok_at === null ? "; never was all well" : `; all was well ${moment(last_ok_at)}`;
    return `<li><b>${command}</b>, ${moment(at)}: <span class="${ok ? "good" : "bad"}">${
      ok ? "✓" : "✗"
    } ${found}</span> of ${formatCount(backups)} looked at${unknown}, ${
      formatCount(backups_in_all)
    } in all${before}</li>`;
  });
  return `<h3>Proofs</h3>\n<ul>${items.join("")}</ul>`;
}

function formatFailures(failed: ReportedTask["failed"]): string {
  if (failed.length === 0) return "";
  const items = failed.slice(0, MOST_FAILURES).map(({ database, error }) =>
    `<li><b>${escape(database)}</b> ${escape(error)}</li>`
  );
  if (failed.length > MOST_FAILURES) items.push(`<li>and ${formatCount(failed.length - MOST_FAILURES)} more</li>`);
  const title = `${counted(failed.length, "database")} not saved`;
  const open = failed.length > MOST_FAILURES_OPEN ? "" : " open";
  return `<tr><td colspan="8"><details${open}><summary>${title}</summary><ul>${
    items.join("")
  }</ul></details></td></tr>`;
}

/** A bar for each run, the latest on the right. */
function drawRuns({ task, runs }: ReportedTask): string {
  const drawn = runs.slice(0, MOST_RUNS_DRAWN).reverse();
  if (drawn.length === 0) return "";
  const longest = Math.max(...drawn.map(({ seconds }) => seconds), 1);
  const bars = drawn.map(({ at, ok, seconds, failed }, index) => {
    const height = Math.max(2, Math.round(28 * seconds / longest));
    const what = `${at.slice(0, 16).replace("T", " ")}: ${formatSeconds(seconds)}${ok ? "" : `, ${failed} failed`}`;
    return `<rect class="${ok ? "f" : "x"}" x="${index * 3}" y="${
      30 - height
    }" width="2" height="${height}"><title>${what}</title></rect>`;
  });
  const label = `${counted(drawn.length, "run")} of ${escape(task)}, the longest took ${formatSeconds(longest)}`;
  return `<svg role="img" aria-label="${label}" width="${drawn.length * 3}" height="30">${bars.join("")}</svg>`;
}

/** Databases by day, stacked, and below them the bytes that were stored, with the months they stand over. */
function drawDays({ from, to, by_day: { complete, unchanged, failed, bytes } }: ReportData): string {
  const days = bytes.length;
  const most = Math.max(1, ...complete.map((count, day) => count + unchanged[day]! + failed[day]!));
  const mostBytes = Math.max(1, ...bytes);
  const marks = bytes.map((size, day) => {
    const failedHeight = failed[day] === 0 ? 0 : Math.max(LEAST_FAILED_HEIGHT, 80 * failed[day]! / most);
    // What failed stands on top, and takes from the others what it is drawn too tall.
    const rest = Math.min(80 - failedHeight, 80 * (complete[day]! + unchanged[day]!) / most);
    const saved = rest * complete[day]! / Math.max(1, complete[day]! + unchanged[day]!);
    const parts = [["f", saved], ["same", rest - saved], ["x", failedHeight]] as const;
    let y = 80;
    const stack = parts.map(([name, height]) => {
      y -= height;
      return height === 0
        ? ""
        : `<rect class="${name}" x="${day}" y="${y.toFixed(1)}" width="1" height="${height.toFixed(1)}"/>`;
    });
    const height = 40 * size / mostBytes;
    const below = size === 0
      ? ""
      : `<rect class="i" x="${day}" y="${(130 - height).toFixed(1)}" width="1" height="${height.toFixed(1)}"/>`;
    const drawn = stack.join("") + below;
    const what = [
      `${formatCount(complete[day]!)} saved`,
      `${formatCount(unchanged[day]!)} unchanged`,
      `${formatCount(failed[day]!)} failed`,
      `${formatSize(size)} stored`,
    ];
    return drawn === "" ? "" : `<g><title>${dateOfDay(from, day)}: ${what.join(", ")}</title>${drawn}</g>`;
  });
  const label = `From ${from} to ${to}: at most ${counted(most, "database")} and ${formatSize(mostBytes)} a day`;
  return `<p class="legend"><span><i class="f"></i>saved</span> <span><i class="same"></i>unchanged</span> <span><i class="x"></i>failed, of at most ${
    counted(most, "database")
  } a day</span> <span><i class="i"></i>stored, at most ${formatSize(mostBytes)} a day</span></p>
<svg class="days" role="img" aria-label="${escape(label)}" viewBox="0 0 ${days} 132" preserveAspectRatio="none">${
    marks.join("")
  }</svg>
${drawTicks(from, days)}`;
}

/** The dates that a row of days stands over; text, so that it is not stretched with the drawing above. */
function drawTicks(from: string, days: number): string {
  const marks = ticksOf(from, days).map(([day, label], index) => {
    const x = `${(100 * day / days).toFixed(2)}%`;
    const anchor = day / days > 0.95 ? ` text-anchor="end"` : "";
    return `<g${
      index % 3 === 0 ? "" : ` class="often"`
    }><line x1="${x}" x2="${x}" y1="0" y2="5"/><text x="${x}" y="16"${anchor}>${label}</text></g>`;
  });
  return `<svg class="ticks" aria-hidden="true" width="100%" height="20">${marks.join("")}</svg>`;
}

function formatOldest(databases: readonly ReportedDatabase[]): string {
  const oldest = databases.toSorted((a, b) => (b.age_seconds ?? Infinity) - (a.age_seconds ?? Infinity)).slice(
    0,
    OLDEST,
  );
  if (oldest.length === 0) return "<p>There is no backup in the catalog.</p>";
  const rows = oldest.map(({ database, last, age_seconds, task }) =>
    `<tr><th scope="row">${escape(database)}</th><td class="when">${
      last === null ? "never" : moment(last)
    }</td><td class="n">${age_seconds === null ? "" : formatSeconds(age_seconds)}</td><td>${
      escape(task ?? "")
    }</td></tr>`
  );
  const head = ["Database", "Newest restore point", "Age", "Task"].map(formatHeading).join("");
  return `<div class="wide"><table><thead><tr>${head}</tr></thead><tbody>${rows.join("\n")}</tbody></table></div>`;
}

/** Numbers stand below their heading's end; a moment goes first where there is no room, as its age says the same. */
const HEADING_CLASSES: Readonly<Record<string, string>> = {
  "Age": "n",
  "Databases": "n",
  "Failed": "n",
  "Newest restore point": "when",
};

function formatHeading(name: string): string {
  const kind = HEADING_CLASSES[name];
  return `<th scope="col"${kind === undefined ? "" : ` class="${kind}"`}>${name}</th>`;
}

function moment(text: string): string {
  return `<time datetime="${escape(text)}">${escape(text.slice(0, 16).replace("T", " "))}</time>`;
}

const ENTITIES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

/** Text in HTML, also within quotes; what would reorder or hide what a person sees is an escape. */
function escape(text: string): string {
  return printable(text).replaceAll(/[&<>"']/g, (character) => ENTITIES[character] ?? "");
}

/**
 * JSON within a script element, which ends at the first `</script`, whatever is quoted. The page may be printed on a
 * terminal: what would move its cursor is an escape, which JSON reads as the same.
 */
function jsonIn(value: unknown): string {
  return printable(JSON.stringify(value)).replaceAll("<", "\\u003c");
}

function hashOf(text: string): string {
  return `sha256-${createHash("sha256").update(text).digest("base64")}`;
}
