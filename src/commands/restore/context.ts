/**
 * What a restore, of one database or of many, works with: what it is given, what it is asked for, and what it adds to
 * that once it has begun.
 */
import type { Archive, ArchivePlace } from "../../archive/archive.ts";
import type { PathContext } from "../../archive/find.ts";
import type { Repository } from "../../archive/repository.ts";
import type { CouchClient } from "../../couchdb/client.ts";
import type { ClusterTimes } from "../../couchdb/cluster.ts";
import type { CopyCounts } from "../../couchdb/copy_counts.ts";
import type { DatabaseInfo } from "../../couchdb/info.ts";
import type { Progress } from "../../observe.ts";
import type { FreshSettings } from "./fresh_settings.ts";
import type { RestoreBeginning, RestorePosition } from "./position.ts";

/** What a restore works with. */
export interface RestoreContext extends PathContext {
  /** Ends it at once, too: what is written needs no finishing, and writing it again is harmless. */
  stop?: AbortSignal | undefined;
  /** CouchDB. */
  couch: CouchClient;
  /** Receives its progress. */
  progress: Progress;
  /** What time it is. */
  now: () => Date;
  /** How long the nodes of a cluster are waited for. @default some minutes */
  clusterTimes?: ClusterTimes | undefined;
  /** Is called when the database is there, before the first document is written to it. */
  onReady?: (() => Promise<void>) | undefined;
  /** Receives what CouchDB says of the database after its last document. */
  onWritten?: ((info: DatabaseInfo) => void) | undefined;
  /** Receives how far it has come, for callers that call again and continue. */
  onPosition?: ((position: RestorePosition) => void) | undefined;
  /** Where an earlier call has ended, by the position that it reported. @default the first chunk */
  beginning?: RestoreBeginning | undefined;
}

/** What is to be restored, and how. */
export interface RestoreRequest {
  /** The database to write to; encoded (`a%2Fb`) or not. */
  database: string;
  /** `latest`, a date, a URL, a local folder or file, or a key below the bucket folder. */
  path: string;
  /** Write into a database that holds documents. @default false */
  intoExisting?: boolean | undefined;
  /** Restore what is whole of an archive that is not. @default false */
  salvage?: boolean | undefined;
  /** Write nothing, and report what would be written. @default false */
  dryRun?: boolean | undefined;
  /** Leave the views unbuilt. @default false */
  noViews?: boolean | undefined;
  /**
   * Only these documents. They are put beside what the database holds; its settings are left as they are.
   * @default the whole backup
   */
  ids?: readonly string[] | undefined;
  /** With `ids`: write the backup's winner as a new revision onto what is there now. @default false */
  asNewRevision?: boolean | undefined;
  /** Only design documents. @default false */
  designs?: boolean | undefined;
  /** Restore a backup in clear, too, whose task seals its backups. @default false */
  allowPlain?: boolean | undefined;
  /** Requests in flight. @default 4 */
  parallel?: number | undefined;
}

/** One restore among others, of which something is known already. */
export interface OneOfMany extends RestoreContext {
  /** Where the backup lies. @default it is found by the path */
  place?: ArchivePlace | undefined;
  /** What new databases have. */
  fresh?: FreshSettings | undefined;
  /** Counts what databases hold. @default its own */
  counts?: CopyCounts | undefined;
  /** The database holds nothing but what an earlier call has restored into it. */
  isBegun?: boolean | undefined;
  /** CouchDB has just said that the database is not there: creating it will tell. @default it is looked at first */
  isMissing?: boolean | undefined;
  /**
   * Waits until there is room for the archive, before CouchDB is asked for anything. Returns how many requests it may
   * make at a time. @default as many as the request says
   */
  makeRoom?: ((archive: Archive) => Promise<number | undefined>) | undefined;
}

/** A restore that has begun: its log names the database, its signal is aborted by `stop`, too. */
export interface BegunRestore extends OneOfMany {
  /** The decoded name of the database that is written to. */
  database: string;
  startedAt: Date;
  counts: CopyCounts;
}

/** What a whole restore works with. */
export interface FleetContext extends RestoreContext {
  repository: Repository;
  /** Receives the name of the restore in a database's note, before it starts or resumes. */
  onBegun?: ((id: string) => void) | undefined;
}

/** A whole restore that has begun. */
export type BegunFleet = FleetContext & OneOfMany & { counts: CopyCounts };

/** What is to be restored, and how. */
export interface FleetRequest extends Omit<RestoreRequest, "database" | "path"> {
  /** `latest`, or a moment: of each database the newest backup that was complete then. */
  path: string;
  /** Patterns, of which one must match a database's name. @default every database but CouchDB's own */
  match?: readonly string[] | undefined;
  /** Patterns, of which none may match. */
  exclude?: readonly string[] | undefined;
  /** `FROM=TO`: names to restore to. @default their own */
  map?: readonly string[] | undefined;
  /** Databases at the same time. @default 4, of small ones 16 */
  databasesAtOnce?: number | undefined;
  /** Its report goes where a log does, and names no documents of what is sealed. @default false */
  isDiscreet?: boolean | undefined;
  /** Bring back those, too, that the last run before the moment did not select any more. @default false */
  gone?: boolean | undefined;
}
