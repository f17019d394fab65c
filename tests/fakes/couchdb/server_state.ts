/**
 * What a server of the double is and has: its version, its limits, its users and its databases. The nodes of a cluster
 * share one.
 */
import { Refusal } from "./answer.ts";
import type { ClusterNode } from "./cluster_node.ts";
import type { Reading } from "./copy_choice.ts";
import { Database, type DatabaseProperties } from "./database.ts";
import { seededRandom } from "./random.ts";

/** A user of the server. All are server administrators, except where a database is forbidden to them. */
export interface User {
  name: string;
  password: string;
  /** Names of databases that are answered with 403. */
  forbidden?: string[];
}

/** What a server is like. */
export interface ServerOptions {
  /** @default "3.5.0" */
  version: string;
  /** Of a document's body. @default {@linkcode DEFAULT_MAX_DOCUMENT_BYTES} */
  maxDocumentBytes: number;
  /** The shards of a database whose creator does not say. @default 2 */
  q: number;
  /** The copies of each range of a database whose creator does not say; never more than there are nodes. @default 1 */
  n: number;
  /**
   * What each database says of the size of its documents. 0: it does not know yet, and no program takes it for small.
   * @default 0
   */
  externalBytes: number;
  /** Of what a cluster decides by chance, such as the order of a feed. @default 1 */
  seed: number;
  /** @default admin with the password `secret` */
  users: User[];
}

/** CouchDB's own limit for a document's body. */
export const DEFAULT_MAX_DOCUMENT_BYTES = 8_000_000;

/** A server as tests start it. */
export const SERVER_DEFAULTS: ServerOptions = {
  version: "3.5.0",
  maxDocumentBytes: DEFAULT_MAX_DOCUMENT_BYTES,
  q: 2,
  n: 1,
  externalBytes: 0,
  seed: 1,
  users: [{ name: "admin", password: "secret" }],
};

/** The failed logins after which 3.4 and later answer 403, right password or wrong. */
const LOCK_OUT_AFTER = 5;

/** The state of a server. */
export class ServerState {
  readonly databases: Map<string, Database> = new Map<string, Database>();
  /** How often each view was asked for, by `database/_design/x/_view/y`, or `database/_partition/p/_design/…`, decoded. */
  readonly viewCalls: Map<string, number> = new Map<string, number>();
  /** How often a wrong password came, by user name. */
  readonly failedLogins: Map<string, number> = new Map<string, number>();

  readonly random: () => number;
  /** Which copies listings read. */
  reading: Reading = "own";
  /** Whose copies `GET /{db}` counts; undefined for any. */
  counting: ClusterNode | undefined;
  /** When each database was created last, in seconds since 1970; also of those that are gone. */
  readonly #createdAt = new Map<string, number>();

  readonly options: ServerOptions;
  readonly nodes: readonly ClusterNode[];

  constructor(options: ServerOptions, nodes: readonly ClusterNode[]) {
    this.options = options;
    this.nodes = nodes;

    this.random = seededRandom(options.seed);
    for (const name of ["_replicator", "_users"]) this.create({ name, partitioned: false });
    const design = { id: "_design/_auth", history: undefined, deleted: false, attachments: [] };
    this.database("_users").write([{ ...design, body: [["language", '"javascript"']] }], {
      newEdits: true,
      user: "admin",
      refusedRows: new Map(),
    });
  }

  /** Whether positions are numbers, as before 2.0: a database is one file then. */
  get numbersPositions(): boolean {
    return !this.isAtLeast(2, 0);
  }

  /** Whether the server is `major.minor` or later. */
  isAtLeast(major: number, minor: number): boolean {
    return isVersionAtLeast(this.options.version, major, minor);
  }

  /** @throws Refusal when there is none of this name. */
  database(name: string): Database {
    const database = this.databases.get(name);
    if (database === undefined) throw new Refusal(404, "not_found", "Database does not exist.");
    return database;
  }

  /** @throws Refusal when there is one of this name. */
  create(
    { name, q, n, partitioned }: Pick<DatabaseProperties, "name" | "partitioned"> & { q?: number; n?: number },
  ): void {
    if (this.databases.has(name)) {
      throw new Refusal(412, "file_exists", "The database could not be created, the file already exists.");
    }
    // CouchDB's clock is as coarse, but a test cannot wait a second before it makes a database anew.
    const createdAt = Math.max(Math.floor(Date.now() / 1000), (this.#createdAt.get(name) ?? 0) + 1);
    this.#createdAt.set(name, createdAt);
    const properties = {
      name,
      partitioned,
      q: this.numbersPositions ? 1 : q ?? this.options.q,
      n: Math.min(n ?? this.options.n, this.nodes.length),
      createdAt,
    };
    this.databases.set(name, new Database(properties, this));
  }

  /**
   * The user that an `Authorization` header names, undefined without one.
   * @throws Refusal when the password is wrong or the account locked.
   */
  login(authorization: string | null): User | undefined {
    const [scheme, encoded] = authorization?.split(" ") ?? [];
    if (scheme?.toLowerCase() !== "basic" || encoded === undefined) return undefined;
    const credentials = new TextDecoder().decode(Uint8Array.from(atob(encoded), (unit) => unit.charCodeAt(0)));
    const colon = credentials.indexOf(":");
    const name = credentials.slice(0, colon);
    const failures = this.failedLogins.get(name) ?? 0;
    if (this.isAtLeast(3, 4) && failures >= LOCK_OUT_AFTER) {
      const reason = "Account is temporarily locked due to multiple authentication failures";
      throw new Refusal(403, "forbidden", reason);
    }
    const user = this.options.users.find((known) => known.name === name);
    if (user?.password === credentials.slice(colon + 1)) return user;
    this.failedLogins.set(name, failures + 1);
    throw new Refusal(401, "unauthorized", "Name or password is incorrect.");
  }
}

/** Whether `version`, such as `3.5.0`, is `major.minor` or later. */
export function isVersionAtLeast(version: string, major: number, minor: number): boolean {
  const [ownMajor = 0, ownMinor = 0] = version.split(".").map(Number);
  return ownMajor > major || (ownMajor === major && ownMinor >= minor);
}

/** What an endpoint of a database works with. */
export interface DatabaseCall {
  state: ServerState;
  database: Database;
  /** The node that was asked. */
  node: ClusterNode;
  /** The user's name. */
  user: string;
}
