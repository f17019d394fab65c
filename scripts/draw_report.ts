/**
 * Draws docs/report.png: the page of `report`, of made-up backups, as Chromium shows it. The page is the program's own;
 * the picture notes of which page it is, so that tests/scripts/draw_report_test.ts needs no browser to see that it is
 * out of date. sh scripts/ci/chromium.sh && deno run --allow-all scripts/draw_report.ts
 */
import { Buffer } from "node:buffer";
import { crc32 } from "node:zlib";
import { DAY_MS } from "../src/dates.ts";
import { CalendarStrip, type ReportData, type ReportedTask } from "../src/observe/report_data.ts";
import { formatReportPage } from "../src/observe/report_page.ts";
import { openPage } from "../tests/fakes/chromium.ts";

const DAYS = 365;
const DATABASES = 214;
const LAST_DAY = Date.UTC(2026, 10, 28);
/** What the picture shows of the page. */
const VIEWER = { width: 1140, height: 736, scheme: "light" } as const;
/** Where the digest of the page stands in the picture: a chunk of text, by this keyword. */
const KEYWORD = "page-sha256";

/** A year of nightly backups in which one database failed last. */
export function madeUpReport(): ReportData {
  const draw = numbersFrom(20_261_128);
  const by_day: ReportData["by_day"] = { complete: [], unchanged: [], failed: [], bytes: [] };
  const strips = Array.from({ length: DATABASES }, () => new CalendarStrip(DAYS));
  for (let day = 0; day < DAYS; day++) {
    const isFull = day % 30 === 0;
    // Busier in winter and in summer than between.
    const share = isFull ? 1 : 0.6 + 0.35 * Math.cos(day / 29) + 0.05 * draw();
    let saved = 0;
    for (const [index, strip] of strips.entries()) {
      const hasChanged = isFull || draw() < share;
      if (hasChanged) saved++;
      strip.mark(day, isFull ? "f" : hasChanged ? "i" : "=", isFull ? 2 ** (10 + index % 14) : 0);
    }
    const failed = day === DAYS - 1 || day === 300 ? 1 : 0;
    if (failed > 0) strips[0]!.codes[day] = "x";
    by_day.complete.push(saved - failed);
    by_day.unchanged.push(DATABASES - saved);
    by_day.failed.push(failed);
    by_day.bytes.push(Math.round(saved * (isFull ? 40_000 : 30_000) * (0.9 + 0.2 * draw())));
  }
  const runs = Array.from({ length: DAYS }, (_, index): ReportedTask["runs"][number] => {
    const failed = by_day.failed.at(-1 - index)!;
    const at = momentOf(LAST_DAY - index * DAY_MS, 2);
    const seconds = Math.round(4000 + 1500 * draw());
    return { at, ok: failed === 0, seconds, databases: DATABASES, failed, by_hand: false };
  });
  const proof = { ok: true, faulty: 0, documents: 120_000, seconds: 600, backups_in_all: DATABASES };
  return {
    made_at: momentOf(LAST_DAY, 5),
    from: dateOf(LAST_DAY - (DAYS - 1) * DAY_MS),
    to: dateOf(LAST_DAY),
    ok: false,
    tasks: [{
      task: "nightly",
      state: "failed",
      ok: false,
      last_complete_at: momentOf(LAST_DAY - DAY_MS, 3),
      age_seconds: 26 * 3600,
      elapse: momentOf(LAST_DAY, 2),
      next: momentOf(LAST_DAY + DAY_MS, 2),
      databases: DATABASES,
      failed: [{ database: "media", error: "Cannot store: no space left on the device" }],
      error: null,
      retry_at: null,
      generations: DAYS,
      runs,
      runs_unread: 0,
    }],
    proofs: {
      verify: { ...proof, at: momentOf(LAST_DAY, 4), backups: 31, last_ok_at: momentOf(LAST_DAY, 4) },
      test_restore: { ...proof, at: momentOf(LAST_DAY, 4), backups: 20, last_ok_at: momentOf(LAST_DAY, 4) },
    },
    by_day,
    databases: strips.map((strip, index) => ({
      database: index === 0 ? "media" : `account/${String(index).padStart(3, "0")}`,
      task: "nightly",
      last: momentOf(LAST_DAY - (index === 0 ? DAY_MS : 0), 2),
      age_seconds: (index === 0 ? 27 : 3) * 3600,
      documents: 1000 + 37 * index,
      bytes: 2 ** (10 + index % 14),
      depth: (DAYS - 1) % 30,
      unreadable: 0,
      backups: DAYS,
      days: strip.toString(),
      sizes: strip.sizes(),
    })),
  };
}

/** Numbers from 0 to 1 that look random and are the same each time: the generator of Park and Miller. */
function numbersFrom(seed: number): () => number {
  let state = seed;
  return () => (state = state * 48_271 % 2_147_483_647) / 2_147_483_647;
}

function dateOf(instantMs: number): string {
  return new Date(instantMs).toISOString().slice(0, 10);
}

function momentOf(dayMs: number, hour: number): string {
  return new Date(dayMs + hour * 3_600_000).toISOString();
}

/** A picture of the page's beginning, as a PNG that notes the page's digest. */
export async function drawReport(page: string): Promise<Uint8Array> {
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-draw-" });
  try {
    await Deno.writeTextFile(`${folder}/report.html`, page);
    await using shown = await openPage(`${folder}/report.html`, VIEWER);
    const { data } = await shown.call("Page.captureScreenshot", { format: "png" });
    return withText(Uint8Array.fromBase64(data), `${KEYWORD}\0${await digestOf(page)}`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The digest of the page that a picture is of; undefined where it notes none. */
export function pageOfPicture(png: Uint8Array): string | undefined {
  return new RegExp(`tEXt${KEYWORD}\0([0-9a-f]{64})`).exec(new TextDecoder("latin1").decode(png))?.[1];
}

/** SHA-256, as hexadecimal digits. */
export async function digestOf(page: string): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(page))).toHex();
}

/** Puts a tEXt chunk before the last chunk of a PNG, IEND, which is always of twelve bytes. */
function withText(png: Uint8Array, text: string): Uint8Array {
  const body = new TextEncoder().encode(`tEXt${text}`);
  const chunk = new Uint8Array(body.length + 8);
  const view = new DataView(chunk.buffer);
  view.setUint32(0, body.length - 4);
  chunk.set(body, 4);
  view.setUint32(4 + body.length, crc32(body));
  const end = png.length - 12;
  return new Uint8Array(Buffer.concat([png.subarray(0, end), chunk, png.subarray(end)]));
}

if (import.meta.main) {
  const picture = await drawReport(formatReportPage(madeUpReport()));
  await Deno.writeFile(new URL("../docs/report.png", import.meta.url), picture);
}
