/**
 * Draws docs/performance.svg from the bench's JSON: for each row of the table a bar, with the marks that must and
 * should be reached. In: a file that `deno task bench --json FILE` has written. Out: the picture.
 * deno run --allow-read --allow-write scripts/draw_performance.ts FILE
 */
import type { Row } from "./bench/measure.ts";
import { rounded, svgText } from "./svg.ts";

const LINE = 26;
const LEFT = 430;
const WIDTH = 1000;
const INK = "#24292f";
const FAINT = "#6e7781";
const [MET, MISSED, PLAIN] = ["#2da44e", "#d1682a", "#8c959f"];

interface Result {
  date: string;
  machine: { cpu?: string; cores: number; load: number };
  deno: string;
  rows: Row[];
}

const [file] = Deno.args;
if (file === undefined) throw new Error("Which file? deno run … scripts/draw_performance.ts FILE");
const result = JSON.parse(await Deno.readTextFile(file)) as Result;
await Deno.writeTextFile(new URL("../docs/performance.svg", import.meta.url), draw(result));

function draw({ date, machine, deno, rows }: Result): string {
  const shown = rows.filter(({ must, value }) => must !== undefined && value !== null);
  const title = `${date}, ${machine.cpu ?? "an unknown processor"}, ${machine.cores} cores, load ${
    machine.load.toFixed(1)
  }, Deno ${deno}`;
  const parts = [
    svgText(title, { x: 10, y: 20, fill: FAINT }),
    svgText("| must   : goal", { x: WIDTH - 10, y: 20, fill: FAINT, more: 'text-anchor="end"' }),
    ...shown.map((row, index) => `<g transform="translate(0 ${34 + index * LINE})">${drawRow(row)}</g>`),
  ];
  const height = 44 + shown.length * LINE;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12">\n` +
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>\n${parts.join("\n")}\n</svg>\n`;
}

function drawRow({ name, value, must, goal, unit, isRate }: Row): string {
  const most = 1.15 * Math.max(value!, must!, goal ?? 0);
  const atX = (amount: number) => LEFT + amount / most * (WIDTH - LEFT - 90);
  const isMet = isRate === true ? value! >= must! : value! <= must!;
  const color = must === undefined ? PLAIN : isMet ? MET : MISSED;
  const mark = (amount: number, dashes: string) =>
    `<path d="M${rounded(atX(amount))} 0V${LINE - 8}" stroke="${INK}" stroke-dasharray="${dashes}"/>`;
  return svgText(name, { x: LEFT - 10, y: 14, fill: INK, more: 'text-anchor="end"' }) +
    `<rect x="${LEFT}" y="3" width="${rounded(atX(value!) - LEFT)}" height="${LINE - 14}" fill="${color}"/>` +
    mark(must!, "none") + (goal === undefined ? "" : mark(goal, "2 2")) +
    svgText(`${formatNumber(value!)} ${unit}`.trimEnd(), {
      x: WIDTH - 10,
      y: 14,
      fill: INK,
      more: 'text-anchor="end"',
    });
}

function formatNumber(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toFixed(2);
}
