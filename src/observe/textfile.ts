/**
 * Writes a run's metrics where node_exporter's textfile collector reads them. The file is replaced in one step, since
 * the collector may read at any moment, and keeps what other tasks' runs have left in it.
 *
 * @see https://github.com/prometheus/node_exporter#textfile-collector
 */
import { open, readFile, rename, rm, writeFile } from "node:fs/promises";
import process from "node:process";
import { describeError } from "../errors.ts";
import type { Proof, ProofKind } from "../archive/proof.ts";
import type { RunReport } from "../archive/report.ts";
import { formatMetrics, formatProof, mergeMetrics, type MetricsOptions } from "./metrics.ts";
import { errorCode } from "../system_error.ts";

/**
 * Writes the metrics of a report into the file at `path`, which should end in `.prom`. Never rejects. Of two runs that
 * end at the same moment, the later one's file stands.
 *
 * @returns A warning, where the file could not be written.
 */
export async function writeMetricsFile(
  report: RunReport,
  { path, ...options }: MetricsOptions & { path: string },
): Promise<string[]> {
  return await mergeIntoFile(path, formatMetrics(report, options));
}

/** Writes the metrics of a proof into the same file, in the same way. Never rejects. */
export async function writeProofFile(kind: ProofKind, proof: Proof, { path }: { path: string }): Promise<string[]> {
  return await mergeIntoFile(path, formatProof(kind, proof));
}

async function mergeIntoFile(path: string, metrics: string): Promise<string[]> {
  // The collector reads *.prom only, so it never sees this name.
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    const text = mergeMetrics(await readPrevious(path), metrics);
    // node_exporter is another user, and a service's umask may be 077.
    const file = await open(temporary, "w", 0o644);
    try {
      await file.chmod(0o644);
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    return [];
  } catch (error) {
    const warnings = [`Cannot write metrics to "${path}": ${describeError(error)}`];
    try {
      await rm(temporary, { force: true });
    } catch (removal) {
      warnings.push(`Cannot remove "${temporary}": ${describeError(removal)}`);
    }
    return warnings;
  }
}

/**
 * Whether the file at `path` can be written: what is there is read, and written under another name beside it, which is
 * taken away.
 *
 * @returns What was found, as a sentence. @throws the system's error.
 */
export async function tryMetricsFile(path: string): Promise<string> {
  const previous = await readPrevious(path);
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    // A full disk takes the name of a file, and no byte.
    await writeFile(temporary, previous === "" ? "# checked\n" : previous, { mode: 0o644, flush: true });
  } finally {
    await rm(temporary, { force: true });
  }
  return previous === "" ? `"${path}" can be written` : `"${path}" exists and can be replaced`;
}

async function readPrevious(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return "";
    throw error;
  }
}
