/**
 * In goes a run's report, out come metrics in Prometheus' text exposition format. Every metric is a gauge that
 * describes the last run of a task: a backup lives too briefly to be scraped, so its figures wait in a Pushgateway or a
 * textfile.
 *
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/
 */
import type { Proof, ProofKind } from "../archive/proof.ts";
import type { RunReport } from "../archive/report.ts";
import { FAMILIES, LAST_SUCCESS, type MetricsOptions, PART_FAMILIES } from "./metric_families.ts";
import { LAST_PROOF, PROOF_FAMILIES } from "./proof_metrics.ts";

export type { MetricsOptions } from "./metric_families.ts";

/**
 * The metrics of all tasks in a report. A task that failed has no time of success: whoever stores the metrics keeps the
 * one it has (see {@linkcode mergeMetrics}).
 */
export function formatMetrics(report: RunReport, options: MetricsOptions = {}): string {
  let text = "";
  for (const { name, help, samples } of options.isPart === true ? PART_FAMILIES : FAMILIES) {
    const lines = report.tasks.flatMap((task) =>
      samples(task, report, options).map(({ labels, value }) =>
        formatSample(name, { task: task.task, ...labels }, value)
      )
    );
    text += formatFamily(name, help, lines);
  }
  return text;
}

/** The metrics of one kind of proof. */
export function formatProof(kind: ProofKind, proof: Proof): string {
  return PROOF_FAMILIES.map(({ name, help, value }) => {
    const found = value(proof);
    return formatFamily(name, help, found === undefined ? [] : [formatSample(name, { proof: kind }, found)]);
  }).join("");
}

/** Times that outlive a run that failed. */
const OUTLIVING: ReadonlySet<string> = new Set([LAST_SUCCESS, LAST_PROOF]);

/**
 * What a file of metrics holds after a run: `next`, and from `previous` the tasks and proofs that this run did not
 * have, the time of success of those that failed, and what a run of the other kind (of whole tasks, of named databases)
 * has left. Lines of `previous` that are not of this program are left out.
 */
export function mergeMetrics(previous: string, next: string): string {
  const old = readSamples(previous);
  const fresh = readSamples(next);
  const subjects = new Set(fresh.map((sample) => sample.subject));
  const succeeded = new Set(fresh.filter(({ name }) => OUTLIVING.has(name)).map((sample) => sample.subject));
  const isOfPart = ({ name }: { name: string }) => PART_FAMILIES.some((family) => family.name === name);
  const kinds = new Set(fresh.map(isOfPart));
  const kept = old.filter((sample) => {
    const { name, subject } = sample;
    return !subjects.has(subject) || !kinds.has(isOfPart(sample)) || (OUTLIVING.has(name) && !succeeded.has(subject));
  });
  let text = "";
  for (const { name, help } of [...FAMILIES, ...PART_FAMILIES, ...PROOF_FAMILIES]) {
    const lines = [...kept, ...fresh].filter((sample) => sample.name === name).map((sample) => sample.line);
    text += formatFamily(name, help, lines);
  }
  return text;
}

function formatFamily(name: string, help: string, lines: readonly string[]): string {
  return lines.length === 0 ? "" : `# HELP ${name} ${help}\n# TYPE ${name} gauge\n${lines.join("\n")}\n`;
}

function formatSample(name: string, labels: Record<string, string>, value: number): string {
  const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escapeLabel(text)}"`);
  return `${name}{${pairs.join(",")}} ${value}`;
}

function escapeLabel(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

/**
 * The samples of a text that {@linkcode formatMetrics} or {@linkcode formatProof} has made, in which `task` or `proof`
 * is always the first label: what they are about.
 */
function readSamples(text: string): { name: string; subject: string; line: string }[] {
  const samples = [];
  for (const line of text.split("\n")) {
    const match = /^(\w+)\{((?:task|proof)="(?:[^"\\]|\\.)*")[,}]/.exec(line);
    if (match !== null) samples.push({ name: match[1] ?? "", subject: match[2] ?? "", line });
  }
  return samples;
}
