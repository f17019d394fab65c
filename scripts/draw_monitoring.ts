/**
 * Draws docs/monitoring.svg: what the panels of monitoring/dashboard.json show. The queries are the dashboard's own and
 * the answers a real Prometheus' own, over made-up runs; the drawing is ours, not a picture of Grafana.
 * deno run --allow-all scripts/draw_monitoring.ts
 */
import { DAY_MS } from "../src/dates.ts";
import { formatCount, formatSeconds, formatSize } from "../src/observe/figures.ts";
import { END_MS, type Series, START_MS, withPrometheus } from "../tests/fakes/prometheus.ts";
import { rounded, svgText } from "./svg.ts";

interface Panel {
  type: string;
  title: string;
  gridPos: { x: number; y: number; w: number; h: number };
  fieldConfig: { defaults: { unit?: string } };
  targets: { expr: string; legendFormat?: string }[];
}

/** A panel's series with the names that its legend has for them. */
type Named = { name: string; series: Series }[];

const CELL = { width: 50, height: 34 };
const COLORS = ["#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9"];
/** As the dashboard has it: a week and a day. */
const OLDEST_GOOD_SECONDS = 8 * DAY_MS / 1000;
const INK = "#d8d9da";
const FAINT = "#8e9196";

const root = new URL("../", import.meta.url);
const { panels } = JSON.parse(await Deno.readTextFile(new URL("monitoring/dashboard.json", root))) as {
  panels: Panel[];
};
const drawn = panels.filter(({ type }) => type === "stat" || type === "timeseries");

const parts: string[] = [];
await withPrometheus(async ({ queryEnd, queryRange }) => {
  for (const panel of drawn) {
    const named: Named = [];
    for (const { expr, legendFormat = "" } of panel.targets) {
      const ask = panel.type === "stat" ? queryEnd : queryRange;
      for (const series of await ask(expr.replaceAll(/\$(?:job|instance|task)/g, ".*"))) {
        named.push({ name: legendFormat.replace(/\{\{(\w+)\}\}/g, (_, label) => series.metric[label] ?? ""), series });
      }
    }
    parts.push(drawPanel(panel, named));
  }
});
const width = 24 * CELL.width;
const height = Math.max(...drawn.map(({ gridPos: { y, h } }) => y + h)) * CELL.height;
await Deno.writeTextFile(
  new URL("docs/monitoring.svg", root),
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">\n` +
    `<rect width="${width}" height="${height}" fill="#111217"/>\n${parts.join("\n")}\n</svg>\n`,
);

function drawPanel({ type, title, gridPos, fieldConfig }: Panel, named: Named): string {
  const [x, y] = [gridPos.x * CELL.width + 3, gridPos.y * CELL.height + 3];
  const [w, h] = [gridPos.w * CELL.width - 6, gridPos.h * CELL.height - 6];
  const { unit } = fieldConfig.defaults;
  const inside = type === "stat" ? drawStat(named, { w, h, title, unit }) : drawGraph(named, { w, h, unit });
  return `<g transform="translate(${x} ${y})"><rect width="${w}" height="${h}" rx="2" fill="#181b1f" stroke="#2c3235"/>` +
    `${svgText(title, { x: 8, y: 18, fill: INK })}${inside}</g>`;
}

function drawStat(
  named: Named,
  { w, h, title, unit }: { w: number; h: number; title: string; unit: string | undefined },
): string {
  return named.map(({ name, series }, index) => {
    const value = series.values.at(-1)?.[1] ?? Number.NaN;
    const good = isGood(title, value, unit);
    const shown = title === "Last run" ? (value === 1 ? "saved" : "failed") : formatNumber(value, unit);
    const x = (index + 0.5) * w / named.length;
    const color = good ? "#73bf69" : "#f2495c";
    return svgText(shown, { x, y: h / 2 + 22, fill: color, more: `text-anchor="middle" font-size="26"` }) +
      svgText(name, { x, y: h - 16, fill: FAINT, more: `text-anchor="middle"` });
  }).join("");
}

/** Whether the dashboard shows a figure in green. */
function isGood(title: string, value: number, unit: string | undefined): boolean {
  if (title === "Last run" || title === "Next run") return value > 0;
  return unit === "s" ? value < OLDEST_GOOD_SECONDS : value === 0;
}

function drawGraph(named: Named, { w, h, unit }: { w: number; h: number; unit: string | undefined }): string {
  const area = { left: 62, top: 32, right: w - 10, bottom: h - 44 };
  const top = Math.max(1e-9, ...named.flatMap(({ series }) => series.values.map(([, value]) => value))) * 1.08;
  const atX = (seconds: number) =>
    area.left + (seconds * 1000 - START_MS) / (END_MS - START_MS) * (area.right - area.left);
  const atY = (value: number) => area.bottom - value / top * (area.bottom - area.top);
  const out: string[] = [];
  for (const fraction of [0, 0.5, 1]) {
    const y = atY(top * fraction);
    out.push(`<path d="M${area.left} ${rounded(y)}H${area.right}" stroke="#2c3235"/>`);
    out.push(
      svgText(formatNumber(top * fraction, unit), {
        x: area.left - 6,
        y: y + 4,
        fill: FAINT,
        more: `text-anchor="end" font-size="10"`,
      }),
    );
  }
  for (let week = 1; week < 8; week += 2) {
    const ms = START_MS + week * 7 * DAY_MS;
    const day = new Date(ms).toISOString().slice(5, 10);
    out.push(
      svgText(day, {
        x: atX(ms / 1000),
        y: area.bottom + 14,
        fill: FAINT,
        more: `text-anchor="middle" font-size="10"`,
      }),
    );
  }
  let legendX = area.left;
  for (const [index, { name, series }] of named.entries()) {
    const color = COLORS[index % COLORS.length] ?? INK;
    // Steps: a value stands until the next run.
    const path = series.values.map(([time, value], point) =>
      point === 0 ? `M${rounded(atX(time))} ${rounded(atY(value))}` : `H${rounded(atX(time))}V${rounded(atY(value))}`
    );
    out.push(`<path d="${path.join("")}" fill="none" stroke="${color}" stroke-width="1.5"/>`);
    out.push(svgText(name, { x: legendX, y: h - 10, fill: color, more: `font-size="10"` }));
    legendX += name.length * 5.8 + 10;
  }
  return out.join("");
}

function formatNumber(value: number, unit: string | undefined): string {
  if (unit === "bytes") return formatSize(value);
  if (unit === "s") return value < 0 ? `-${formatSeconds(-value)}` : formatSeconds(value);
  return value < 20 && !Number.isInteger(value) ? value.toFixed(1) : formatCount(value);
}
