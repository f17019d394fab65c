/**
 * The style and the script of the report's page, as text. The script shows as many databases as are on the screen;
 * whatever it puts on the page it puts there as text, never as HTML. Pure.
 */

/** Light, dark, narrow and printed. */
export const REPORT_STYLE: string = `
:root{color-scheme:light dark;--back:#fff;--text:#1b1f24;--dim:#667;--line:#d8dce2;--f:#2c8a4b;--i:#4f8fd9;--same:#b9c2cc;--u:#c99700;--x:#d1342f;--l:#e07b1a;--none:#eef0f3}
@media(prefers-color-scheme:dark){:root{--back:#14171b;--text:#e4e7eb;--dim:#9aa3ad;--line:#333a42;--f:#46b36a;--i:#5c9ce6;--same:#566170;--u:#d9ae2e;--x:#ef5b55;--l:#ef9440;--none:#23282e}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1400px;padding:1rem;background:var(--back);color:var(--text);font:15px/1.45 system-ui,sans-serif}
h1{margin:0;font-size:1.5rem}h3{font-size:1rem;margin:1rem 0 .2rem}h3+ul{margin:.2rem 0;padding-left:1.2rem}h2{font-size:1.15rem;margin:1.6rem 0 .5rem}header p{margin:.2rem 0}
.verdict{font-weight:600}.good{color:var(--f)}.bad{color:var(--x)}
.facts{display:flex;flex-wrap:wrap;gap:.6rem 2rem;margin:1rem 0}.facts dt{color:var(--dim);font-size:.85rem}.facts dd{margin:0;font-size:1.3rem}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25rem 1.2rem .25rem 0;border-bottom:1px solid var(--line);vertical-align:middle;white-space:nowrap}th:last-child,td:last-child{padding-right:0}
tbody th{font-weight:500;min-width:10rem;overflow-wrap:anywhere;white-space:normal}thead th{color:var(--dim);font-size:.85rem;font-weight:500}.n{text-align:right}
td ul{margin:.2rem 0;padding-left:1.2rem;white-space:normal;overflow-wrap:anywhere}td details{position:sticky;left:0;width:fit-content;max-width:calc(100vw - 3.5rem)}
rect{shape-rendering:crispEdges}rect.f{fill:var(--f)}rect.same{fill:var(--same)}rect.x{fill:var(--x)}rect.i{fill:var(--i)}
.days{display:block;width:100%;height:150px;border-bottom:1px solid var(--line)}
.ticks{display:block;overflow:visible;font-size:11px}.ticks text{fill:var(--dim)}.ticks line{stroke:var(--dim)}
.tools{display:flex;flex-wrap:wrap;gap:.5rem 1rem;align-items:center}input,select{font:inherit;color:inherit;background:var(--back);border:1px solid var(--line);border-radius:4px;padding:.2rem .4rem}
#search{width:16rem;max-width:60vw}.legend{color:var(--dim);font-size:.85rem}.legend span{white-space:nowrap;margin-right:.8em}.legend i{display:inline-block;width:.8em;height:.8em;margin-right:.3em}
i.f{background:var(--f)}i.i{background:var(--i)}i.same{background:var(--same)}i.u{background:var(--u)}i.x{background:var(--x)}i.l{background:var(--l)}
#list{position:relative;max-height:70vh;overflow-y:auto;border:1px solid var(--line)}#space{position:relative}
.row{position:absolute;left:0;right:0;height:30px;display:grid;grid-template-columns:minmax(0,1fr) 5em 6em 5em 3em minmax(0,40%);gap:0 .6rem;align-items:center;align-content:center;padding:0 .5rem;border-bottom:1px solid var(--line);cursor:pointer;font-size:.9rem}
.row:focus-visible{outline:2px solid var(--i);outline-offset:-2px}.row:hover{background:color-mix(in srgb,var(--i) 12%,transparent)}.row>span{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}.row .n{font-variant-numeric:tabular-nums}.row canvas{width:100%;height:16px;image-rendering:pixelated}
.head{position:static;cursor:default;color:var(--dim);border:0}.head:hover{background:none}
#detail{border:1px solid var(--line);padding:.6rem;margin:.5rem 0;overflow-wrap:anywhere}#detail canvas{width:100%;height:60px;image-rendering:pixelated}#detail dl{margin:.5rem 0 1rem}#detail dd{font-size:1rem}#detail h3{margin:1rem 0 .4rem}#detail .weeks{height:auto;display:block;image-rendering:auto}.row.head>span:last-child{overflow:visible}.head .ticks{margin-top:4px}
#detail .names{position:relative;height:1.2rem;color:var(--dim);font-size:11px}.names span{position:absolute;white-space:nowrap}button{font:inherit;font-size:.85rem;color:inherit;background:var(--back);border:1px solid var(--line);border-radius:4px;padding:.1rem .6rem;cursor:pointer}
@media(max-width:700px){.row{height:52px;grid-template-columns:minmax(0,1fr) 4.5em 5em;grid-template-rows:24px 20px}.row.head{height:auto;grid-template-rows:20px}.head>span:first-child,.head .often,.names .often{display:none}.row .docs,.row .depth,.when{display:none}.head>span:last-child{grid-row:1;grid-column:1}
.row>span:first-child{grid-column:1/-1;font-size:.72rem;letter-spacing:-.01em}.row canvas{grid-row:2;grid-column:1}tbody th{font-size:.85rem}}
@media print{#all,.tools{display:none}body{max-width:none}}
`;

/** Draws the list, searches it, and shows one database more closely. */
export const REPORT_SCRIPT: string = String.raw`
"use strict";
(() => {
  const { from, ticks, databases } = JSON.parse(document.getElementById("data").textContent);
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
    return { f: of("f"), i: of("i"), "=": of("same"), u: of("u"), x: of("x"), l: of("l"), none: of("none") };
  };
  let colour = colours();
  const element = (tag, name, text) => {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const meanings = { f: "full", i: "incremental", "=": "unchanged", u: "lacks unreadable documents", x: "failed", l: "late", ".": "no backup" };
  const told = (days) => Object.entries(meanings).map(([code, meaning]) => [days.split(code).length - 1, meaning])
    .filter(([times]) => times > 0).map(([times, meaning]) => meaning + " " + times).join(", ");
  const dateOf = (day) => new Date(Date.parse(from + "T00:00:00Z") + day * 86400000).toISOString().slice(0, 10);
  const strip = (packed) => {
    const days = unpack(packed), canvas = element("canvas");
    canvas.width = days.length * 2;
    canvas.height = 8;
    const pen = canvas.getContext("2d");
    for (let day = 0; day < days.length; day++) {
      if (days[day] === ".") continue;
      pen.fillStyle = colour[days[day]];
      // What went wrong stands out of the row: of hundreds of days one is a hair.
      const wrong = "xlu".includes(days[day]);
      pen.fillRect(day * 2, wrong ? 0 : 1, wrong ? 4 : 2, wrong ? 8 : 6);
    }
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", told(days));
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
    row.tabIndex = 0;
    row.addEventListener("click", () => open(one));
    row.addEventListener("keydown", ({ key }) => { if (key === "Enter") open(one); });
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
  const names = (places) => {
    const line = element("div", "names");
    line.append(...places.map(([share, label], index) => {
      const name = element("span", index % 3 === 0 ? "" : "often", label);
      name.style.left = 100 * share + "%";
      // The last one stands before its day, where there is no room after it.
      if (share > 0.95) name.style.transform = "translateX(-100%)";
      return name;
    }));
    return line;
  };
  // A column a week, from Monday on top to Sunday; what a day was is told where the pointer is.
  const weeks = (days) => {
    const first = (new Date(from + "T00:00:00Z").getUTCDay() + 6) % 7, columns = Math.ceil((first + days.length) / 7);
    const canvas = element("canvas", "weeks"), cell = 32;
    canvas.width = columns * cell;
    canvas.height = 7 * cell;
    canvas.style.maxWidth = columns * 20 + "px";
    const pen = canvas.getContext("2d");
    [...days].forEach((code, day) => {
      pen.fillStyle = code === "." ? colour.none : colour[code];
      pen.fillRect(Math.floor((first + day) / 7) * cell, (first + day) % 7 * cell, cell - 4, cell - 4);
    });
    canvas.addEventListener("pointermove", ({ offsetX, offsetY }) => {
      const column = Math.floor(columns * offsetX / canvas.clientWidth), row = Math.floor(7 * offsetY / canvas.clientHeight);
      const day = column * 7 + row - first;
      canvas.title = days[day] === undefined ? "" : dateOf(day) + ": " + meanings[days[day]];
    });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", told(days));
    let free = 0;
    const places = ticks.flatMap(([day, label]) => {
      const column = Math.floor((first + day) / 7);
      if (column < free) return [];
      free = column + 3;
      return [[column / columns, label]];
    });
    const line = names(places);
    line.style.maxWidth = columns * 20 + "px";
    return [line, canvas];
  };
  const open = (one) => {
    const days = unpack(one.days);
    const facts = [["Newest restore point", one.last ? one.last.slice(0, 16).replace("T", " ") : "never"], ["Task", one.task ?? ""],
      ["Restore points", one.backups.toLocaleString("en")], ["Increments since the last full backup", one.depth],
      ["Documents then", one.documents === null ? "" : one.documents.toLocaleString("en")], ["Stored size then", size(one.bytes)],
      ["Unreadable documents", one.unreadable]];
    const list = element("dl", "facts");
    for (const [name, value] of facts) {
      const fact = element("div");
      fact.append(element("dt", "", name), element("dd", "", value));
      list.append(fact);
    }
    const sizes = [...one.sizes].map((code) => 2 ** ((code.charCodeAt(0) - 40) / 2) - 1);
    const canvas = element("canvas");
    canvas.width = days.length * 2;
    canvas.height = 60;
    const pen = canvas.getContext("2d"), most = Math.max(1, ...sizes);
    pen.fillStyle = colour.i;
    // A full backup's size holds until the next one.
    let full = -1;
    [...days].forEach((code, day) => {
      if (code === "f") full++;
      if (full < 0) return;
      const tall = Math.max(1, 60 * sizes[full] / most);
      pen.fillRect(day * 2, 60 - tall, 2, tall);
    });
    detail.hidden = false;
    const close = element("button", "", "close");
    close.addEventListener("click", () => detail.hidden = true);
    detail.replaceChildren(element("b", "", one.database + " "), close, list, ...weeks(days),
      element("h3", "", "Stored size of full backups, at most " + size(most)), canvas,
      names(ticks.map(([day, label]) => [day / days.length, label])));
    detail.scrollIntoView({ block: "nearest" });
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
