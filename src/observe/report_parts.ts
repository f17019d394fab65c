/**
 * The style and the script of the report's page, as text. The script shows as many databases as are on the screen;
 * whatever it puts on the page it puts there as text, never as HTML. Pure.
 */

/** Light, dark, narrow and printed. */
export const REPORT_STYLE: string = `
:root{color-scheme:light dark;--back:#fff;--text:#1b1f24;--dim:#667;--line:#d8dce2;--f:#2c8a4b;--i:#4f8fd9;--same:#b9c2cc;--u:#c99700;--x:#d1342f;--l:#e07b1a}
@media(prefers-color-scheme:dark){:root{--back:#14171b;--text:#e4e7eb;--dim:#9aa3ad;--line:#333a42;--f:#46b36a;--i:#5c9ce6;--same:#566170;--u:#d9ae2e;--x:#ef5b55;--l:#ef9440}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1400px;padding:1rem;background:var(--back);color:var(--text);font:15px/1.45 system-ui,sans-serif}
h1{margin:0;font-size:1.5rem}h3{font-size:1rem;margin:1rem 0 .2rem}h3+ul{margin:.2rem 0;padding-left:1.2rem}h2{font-size:1.15rem;margin:1.6rem 0 .5rem}header p{margin:.2rem 0}
.verdict{font-weight:600}.good{color:var(--f)}.bad{color:var(--x)}
.facts{display:flex;flex-wrap:wrap;gap:.6rem 2rem;margin:1rem 0}.facts dt{color:var(--dim);font-size:.85rem}.facts dd{margin:0;font-size:1.3rem}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25rem .6rem .25rem 0;border-bottom:1px solid var(--line);vertical-align:middle;white-space:nowrap}
tbody th{font-weight:500;min-width:10rem;overflow-wrap:anywhere;white-space:normal}thead th{color:var(--dim);font-size:.85rem;font-weight:500}.n{text-align:right}
td ul{margin:.2rem 0;padding-left:1.2rem;white-space:normal;overflow-wrap:anywhere}td details{position:sticky;left:0;width:fit-content;max-width:calc(100vw - 3.5rem)}
rect{shape-rendering:crispEdges}rect.f{fill:var(--f)}rect.same{fill:var(--same)}rect.x{fill:var(--x)}rect.i{fill:var(--i)}
.days{width:100%;height:150px;border-bottom:1px solid var(--line)}
.tools{display:flex;flex-wrap:wrap;gap:.5rem 1rem;align-items:center}input,select{font:inherit;color:inherit;background:var(--back);border:1px solid var(--line);border-radius:4px;padding:.2rem .4rem}
#search{width:16rem;max-width:60vw}.legend{color:var(--dim);font-size:.85rem}.legend i{display:inline-block;width:.8em;height:.8em;margin:0 .3em 0 .6em}
i.f{background:var(--f)}i.i{background:var(--i)}i.same{background:var(--same)}i.u{background:var(--u)}i.x{background:var(--x)}i.l{background:var(--l)}
#list{position:relative;height:70vh;overflow-y:auto;border:1px solid var(--line)}#space{position:relative}
.row{position:absolute;left:0;right:0;height:30px;display:grid;grid-template-columns:minmax(0,1fr) 5em 6em 5em 3em minmax(0,40%);gap:.6rem;align-items:center;padding:0 .5rem;border-bottom:1px solid var(--line);cursor:pointer;font-size:.9rem}
.row:hover{background:color-mix(in srgb,var(--i) 12%,transparent)}.row>span{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}.row .n{font-variant-numeric:tabular-nums}.row canvas{width:100%;height:16px;image-rendering:pixelated}
.head{position:static;cursor:default;color:var(--dim);border:0}.head:hover{background:none}
#detail{border:1px solid var(--line);padding:.6rem;margin:.5rem 0;overflow-wrap:anywhere}#detail canvas{width:100%;height:60px}
@media(max-width:700px){.row{height:52px;grid-template-columns:minmax(0,1fr) 4.5em 5em;grid-template-rows:24px 20px}.row .docs,.row .depth,.when{display:none}
.row>span:first-child{grid-column:1/-1;font-size:.72rem;letter-spacing:-.01em}.row canvas,.head>span:last-child{grid-row:2;grid-column:1}tbody th{font-size:.85rem}}
@media print{#all,.tools{display:none}body{max-width:none}}
`;

/** Draws the list, searches it, and shows one database more closely. */
export const REPORT_SCRIPT: string = String.raw`
"use strict";
(() => {
  const { from, databases } = JSON.parse(document.getElementById("data").textContent);
  const list = document.getElementById("list"), space = document.getElementById("space");
  const search = document.getElementById("search"), show = document.getElementById("show");
  const order = document.getElementById("order"), count = document.getElementById("count");
  const detail = document.getElementById("detail");
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  const size = (bytes) => {
    if (bytes === null) return "";
    let unit = 0;
    while (bytes >= 999.5 && unit < 5) bytes /= 1000, unit++;
    return bytes.toFixed(unit > 0 && bytes < 9.95 ? 1 : 0) + " " + units[unit];
  };
  const age = (seconds) => seconds === null ? "never" : seconds < 3600 ? Math.round(seconds / 60) + " min"
    : seconds < 172800 ? Math.round(seconds / 3600) + " h" : Math.round(seconds / 86400) + " d";
  const unpack = (days) => days.replace(/(\D)(\d+)/g, (_, code, times) => code.repeat(Number(times)));
  const colours = () => {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue("--" + name).trim();
    return { f: of("f"), i: of("i"), "=": of("same"), u: of("u"), x: of("x"), l: of("l") };
  };
  let colour = colours();
  const element = (tag, name, text) => {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const strip = (packed) => {
    const days = unpack(packed), canvas = element("canvas");
    canvas.width = days.length * 2;
    canvas.height = 8;
    const pen = canvas.getContext("2d");
    for (let day = 0; day < days.length; day++) {
      if (days[day] === ".") continue;
      pen.fillStyle = colour[days[day]];
      pen.fillRect(day * 2, 0, 2, 8);
    }
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", "calendar");
    return canvas;
  };
  const last = (one) => unpack(one.days).replace(/\.+$/, "").slice(-1);
  const kinds = { failed: (one) => last(one) === "x", late: (one) => last(one) === "l", unreadable: (one) => one.unreadable > 0 };
  const orders = {
    name: undefined,
    age: (a, b) => (b.age_seconds ?? Infinity) - (a.age_seconds ?? Infinity) || 0,
    size: (a, b) => (b.bytes ?? 0) - (a.bytes ?? 0),
    depth: (a, b) => b.depth - a.depth,
  };
  let shown = databases;
  const height = () => matchMedia("(max-width:700px)").matches ? 52 : 30;
  const rowOf = (one) => {
    const row = element("div", "row");
    const name = element("span", "", one.database);
    name.title = one.database;
    row.append(name, element("span", "n", age(one.age_seconds)),
      element("span", "n docs", one.documents === null ? "" : one.documents.toLocaleString("en")),
      element("span", "n", size(one.bytes)), element("span", "n depth", one.depth || ""), strip(one.days));
    row.addEventListener("click", () => open(one));
    return row;
  };
  const draw = () => {
    const tall = height();
    space.style.height = shown.length * tall + "px";
    const first = Math.max(0, Math.floor(list.scrollTop / tall) - 5);
    const end = Math.min(shown.length, first + Math.ceil(list.clientHeight / tall) + 10);
    const rows = [];
    for (let index = first; index < end; index++) {
      const row = rowOf(shown[index]);
      row.style.top = index * tall + "px";
      rows.push(row);
    }
    space.replaceChildren(...rows);
  };
  const select = () => {
    const words = search.value.toLowerCase().replaceAll("%2f", "/").split(/\s+/).filter((word) => word !== "");
    const kind = kinds[show.value];
    shown = databases.filter((one) => words.every((word) => one.database.toLowerCase().includes(word)) && (!kind || kind(one)));
    if (orders[order.value]) shown = shown.toSorted(orders[order.value]);
    count.textContent = shown.length.toLocaleString("en") + " of " + databases.length.toLocaleString("en");
    list.scrollTop = 0;
    draw();
  };
  const open = (one) => {
    const days = unpack(one.days);
    const facts = [["newest restore point", one.last ?? "never"], ["task", one.task ?? ""], ["restore points", one.backups],
      ["documents of the last full backup", one.documents ?? ""], ["its size", size(one.bytes)],
      ["increments since", one.depth], ["unreadable documents", one.unreadable]];
    const text = element("p", "", facts.map(([name, value]) => name + ": " + value).join(" · "));
    const sizes = [...one.sizes].map((code) => 2 ** ((code.charCodeAt(0) - 40) / 2) - 1);
    const canvas = element("canvas");
    canvas.width = days.length * 2;
    canvas.height = 60;
    const pen = canvas.getContext("2d"), most = Math.max(1, ...sizes);
    pen.fillStyle = colour.i;
    let full = 0;
    [...days].forEach((code, day) => {
      if (code !== "f") return;
      const tall = Math.max(1, 60 * sizes[full++] / most);
      pen.fillRect(day * 2, 60 - tall, 2, tall);
    });
    detail.hidden = false;
    const close = element("button", "", "close");
    close.addEventListener("click", () => detail.hidden = true);
    detail.replaceChildren(element("b", "", one.database + " "), close, text, strip(one.days),
      element("p", "", "Sizes of full backups, at most " + size(most) + ", from " + from), canvas);
  };
  search.addEventListener("input", select);
  show.addEventListener("change", select);
  order.addEventListener("change", select);
  list.addEventListener("scroll", draw, { passive: true });
  addEventListener("resize", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { colour = colours(); draw(); });
  select();
})();
`;
