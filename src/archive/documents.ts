/**
 * What is read from an archive: documents, whole or streaming by, what is known of each, and counts of them. The types
 * that document_reader.ts, chunk.ts and walk.ts share with those who take documents from them.
 */
import type { UnreadableDocument } from "../couchdb/couchdb.ts";

/** A document and what has to be known of it to write it. */
export interface DocumentIdentity {
  /** Its own, else that of its row. */
  id: string | undefined;
  /** It has no id of its own: it must not be written, for CouchDB would make one up. */
  lacksId?: true;
  /** Whether it has a revision to keep; else it can only be written as a new edit. */
  hasRevision: boolean;
}

/** A document that is held whole. */
export interface RawDocument extends DocumentIdentity {
  bytes: Uint8Array;
}

/** A document that streams by. */
export interface LargeDocument extends DocumentIdentity {
  /** As far as its first megabytes tell. */
  rev: string | undefined;
  /** Which of the source's documents it is, from 0: by it, reading once more finds it again. */
  ordinal: number;
  /** All its bytes, once. */
  stream: AsyncIterable<Uint8Array>;
  /** Whether it is the mark of a deletion: what is left of it is read for that, as CouchDB says so behind its content. */
  isDeleted: () => Promise<boolean>;
}

/** How much there is of documents. */
export interface DocumentCounts {
  /** Documents; where several leaf revisions of one follow each other, they are one. */
  documents: number;
  leafRevisions: number;
  /** Documents of which every leaf revision is deleted. */
  deleted: number;
}

/** What has been read; complete when the reader has ended. */
export interface ReadCounts extends DocumentCounts {
  /** What of it was passed over, and not yielded. */
  passedOver: DocumentCounts;
  /** Rows without a document because it was gone when it was asked for. */
  absent: number;
  /** Rows that hold another error than that instead of a document: it is lost. */
  lost: number;
  /** The first of those that are lost, by name. */
  unreadable: UnreadableDocument[];
  /** Decompressed. */
  bytes: number;
}

/** Whether what was read is a document that streams by. */
export function isLarge(item: RawDocument[] | LargeDocument): item is LargeDocument {
  return !Array.isArray(item);
}

/** Counts of nothing. */
export function noDocuments(): DocumentCounts {
  return { documents: 0, leafRevisions: 0, deleted: 0 };
}
