/**
 * Stores things, for tests of the modes that they get in a process with a certain umask. The argument is a
 * {@linkcode StoringInput} as JSON; prints the warnings of the metrics file as JSON.
 */
import { writeMetricsFile } from "../../src/observe/textfile.ts";
import { DirectoryStore } from "../../src/store/directory/store.ts";
import { databaseReport, runReport, taskReport } from "./report.ts";

/** What is to be stored, and where. */
export interface StoringInput {
  /** Bucket folders that get an object in a folder, and one that is replaced. */
  buckets?: { root: string; stateFolder: string; hasLinks: boolean }[];
  /** The path of a metrics file. */
  metrics?: string;
}

async function store({ buckets = [], metrics }: StoringInput): Promise<string[]> {
  for (const { root, stateFolder, hasLinks } of buckets) {
    const link = () => Promise.reject(Object.assign(new Error(), { code: "EPERM" }));
    const bucket = new DirectoryStore(root, hasLinks ? { stateFolder } : { stateFolder, link });
    await bucket.create(["a/b/chunk"], new Blob(["x"]).stream());
    await bucket.replace("a/c", new Uint8Array(1));
  }
  if (metrics === undefined) return [];
  return await writeMetricsFile(runReport([taskReport("weekly", [databaseReport("a")])]), { path: metrics });
}

if (import.meta.main) {
  await Deno.stdout.write(new TextEncoder().encode(JSON.stringify(await store(JSON.parse(Deno.args[0]!)))));
}
