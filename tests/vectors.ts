/**
 * The test vectors of the archive's formats: what a restore of a backup must give, as JSON that holds every document as
 * its very text. docs/vectors.md is for whoever uses them elsewhere.
 */
import { elementsOf, membersOf } from "./fakes/couchdb/json_text.ts";
import type { LeafRevisions } from "./leaf_revisions.ts";

/** What is expected of one backup. */
export interface Vector {
  /** Below the repository. */
  path: string;
  /** Decoded. */
  database: string;
  /** The exit code of verify; of restore, with `--salvage` where verify's is 12. */
  verify: number;
  restore: number;
  /** Whether the backup has histories. Else documents are compared without `_revisions`. */
  has_histories: boolean;
  security: string;
  revs_limit: number;
  unreadable: readonly string[];
  /** All that is in the database afterwards, tombstones too. */
  documents: LeafRevisions;
}

/** The JSON of vectors, a document a line. */
export function formatVectors(vectors: readonly Vector[]): string {
  return `[\n${vectors.map(formatVector).join(",\n")}\n]\n`;
}

function formatVector({ documents, ...head }: Vector): string {
  const ids = [...documents.keys()].sort();
  const texts = ids.map((id) => {
    const revisions = [...documents.get(id)!].sort(([a], [b]) => a < b ? -1 : 1).map(([, text]) => `        ${text}`);
    return `      ${JSON.stringify(id)}: [\n${revisions.join(",\n")}\n      ]`;
  });
  const members = Object.entries(head).map(([name, value]) => `    ${JSON.stringify(name)}: ${JSON.stringify(value)}`);
  return `  {\n${members.join(",\n")},\n    "documents": {\n${texts.join(",\n")}\n    }\n  }`;
}

/** Reads vectors back. */
export function parseVectors(text: string): Vector[] {
  return elementsOf(text).map((vector) => {
    const documents = membersOf(new Map(membersOf(vector)).get("documents")!).map(([id, texts]) =>
      [id, new Map(elementsOf(texts).map((text) => [JSON.parse(text)._rev as string, text]))] as const
    );
    return { ...JSON.parse(vector), documents: new Map(documents) };
  });
}

/** The documents as a backup without histories has them. */
export function withoutHistories(leaves: LeafRevisions): LeafRevisions {
  const cut = (text: string) => text.replace(/,"_revisions":\{"start":\d+,"ids":\[[^\]]*\]\}/, "");
  return new Map(
    [...leaves].map(([id, revisions]) => [id, new Map([...revisions].map(([rev, text]) => [rev, cut(text)]))]),
  );
}
