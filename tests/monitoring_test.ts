/**
 * monitoring/dashboard.json as Grafana's dashboard-linter wants it. No package registry has that program, so its rules
 * stand here, for what the dashboard has.
 */
import { assert, assertEquals } from "@std/assert";

interface DataSource {
  type: string;
  uid: string;
}

interface Panel {
  type: string;
  title: string;
  description: string;
  datasource: DataSource;
  fieldConfig: { defaults: { unit?: string; mappings?: unknown } };
  targets: { expr: string; datasource: DataSource }[];
}

interface Variable {
  name: string;
  label: string;
  type: string;
  query: unknown;
  datasource?: DataSource;
  multi?: boolean;
  allValue?: string;
  refresh?: number;
}

interface Dashboard {
  editable: boolean;
  templating: { list: Variable[] };
  panels: Panel[];
}

const TEXT = await Deno.readTextFile(new URL("../monitoring/dashboard.json", import.meta.url));
const { editable, templating: { list: variables }, panels }: Dashboard = JSON.parse(TEXT);
/** Of panels that show numbers. */
const WITH_UNITS = new Set(["stat", "timeseries", "gauge"]);

Deno.test("dashboard.json has the variables that others look for, and is not edited in place", () => {
  assertEquals(editable, false);
  const sources = variables.filter(({ type }) => type === "datasource").map(({ name, label }) => [name, label]);
  assertEquals(sources, [
    ["prometheus_datasource", "Prometheus data source"],
    ["loki_datasource", "Loki data source"],
  ]);
  const queries = variables.filter(({ type }) => type === "query");
  assertEquals(queries.map(({ name, label }) => [name, label]), [["job", "Job"], ["instance", "Instance"], [
    "task",
    "Task",
  ]]);
  for (const { name, datasource, multi, allValue, refresh } of queries) {
    // 2 is: whenever the time range changes.
    assertEquals([datasource?.uid, multi, allValue, refresh], ["${prometheus_datasource}", true, ".+", 2], name);
  }
});

Deno.test("each panel of dashboard.json says what it shows and in which unit, of the data source that is chosen", () => {
  for (const { type, title, description, datasource, fieldConfig: { defaults }, targets } of panels) {
    assert(title !== "" && description !== "", title);
    assert(
      !WITH_UNITS.has(type) || defaults.unit !== undefined || defaults.mappings !== undefined,
      `${title}: no unit`,
    );
    assert(targets.length > 0, title);
    for (const source of [datasource, ...targets.map((target) => target.datasource)]) {
      assertEquals(source.uid, `\${${source.type}_datasource}`, title);
    }
  }
});

Deno.test("each selector of dashboard.json is for the job, the instances and the tasks that are chosen", () => {
  for (const { title, targets } of panels) {
    for (const { expr, datasource: { type } } of targets) {
      const wanted = type === "prometheus" ? ["job", "instance", "task"] : ["task"];
      const selectors = [...expr.matchAll(/\{([^}]*)\}/g)].map(([, selector = ""]) => selector);
      assert(selectors.length > 0, title);
      for (const selector of selectors) {
        for (const name of wanted) assert(selector.includes(`${name}=~"$${name}"`), `${title}: no ${name} in ${expr}`);
      }
    }
  }
});
