/** The Grafana dashboard's queries before a real Prometheus: each is valid and shows something. */
import { assertEquals, assertGreater } from "@std/assert";
import { withPrometheus } from "../fakes/prometheus.ts";

const DASHBOARD = new URL("../../monitoring/dashboard.json", import.meta.url);

interface Panel {
  title: string;
  gridPos: { x: number; y: number; w: number; h: number };
  targets: { expr: string; datasource: { uid: string } }[];
}

Deno.test("every query of dashboard.json finds data of runs in Prometheus", async () => {
  const { panels } = JSON.parse(await Deno.readTextFile(DASHBOARD)) as { panels: Panel[] };
  let queries = 0;
  await withPrometheus(async (prometheus) => {
    for (const { title, targets } of panels) {
      for (const { expr, datasource } of targets) {
        if (datasource.uid !== "${prometheus_datasource}") continue;
        queries++;
        assertGreater((await prometheus.queryEnd(expr.replaceAll(/\$(?:job|instance|task)/g, ".*"))).length, 0, title);
        assertEquals(
          await prometheus.queryEnd(expr.replaceAll("$task", "no such task").replaceAll(/\$(?:job|instance)/g, ".*")),
          [],
          title,
        );
      }
    }
  });
  assertGreater(queries, 10);
});

Deno.test("no two panels of dashboard.json overlap, and none leaves the grid", async () => {
  const { panels } = JSON.parse(await Deno.readTextFile(DASHBOARD)) as { panels: Panel[] };
  const taken = new Map<string, string>();
  for (const { title, gridPos: { x, y, w, h } } of panels) {
    assertEquals(x + w <= 24, true, title);
    for (let column = x; column < x + w; column++) {
      for (let row = y; row < y + h; row++) {
        const cell = `${column},${row}`;
        assertEquals(taken.get(cell), undefined, `${title} at ${cell}`);
        taken.set(cell, title);
      }
    }
  }
});
