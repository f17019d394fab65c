/**
 * How many databases have a request at a double of CouchDB at the same time. A request is held before it is answered,
 * and counts for so long: so what is counted is in flight for certain, however busy the machine is.
 */
import type { FakeCouchDb, RequestRecord } from "../../fakes/couchdb.ts";

/** Counts databases, each once, with requests at one server or several. */
export class InFlight {
  /** How many of them there were at the most. */
  most = 0;
  /** Those that have asked since the counting began. */
  readonly asked: Set<string> = new Set();
  readonly #held = new Map<string, number>();

  /** @param options.holds How long a request is held, in milliseconds; undefined: it does not count. */
  constructor(
    servers: readonly FakeCouchDb[],
    { holds, databasesOf = (request) => request.database === undefined ? [] : [request.database] }: {
      holds: (request: RequestRecord) => number | undefined;
      databasesOf?: ((request: RequestRecord) => readonly string[]) | undefined;
    },
  ) {
    for (const server of servers) {
      server.onRequest(async (request) => {
        const holdMs = holds(request);
        if (holdMs === undefined) return;
        const databases = databasesOf(request);
        for (const one of databases) {
          this.asked.add(one);
          this.#held.set(one, (this.#held.get(one) ?? 0) + 1);
        }
        this.most = Math.max(this.most, this.#held.size);
        await new Promise((resolve) => setTimeout(resolve, holdMs));
        for (const one of databases) {
          const others = this.#held.get(one)! - 1;
          if (others === 0) this.#held.delete(one);
          else this.#held.set(one, others);
        }
      });
    }
  }
}

/** Lets nobody by until so many have come, and then everybody. */
export class Gate {
  isOpen = false;
  readonly #opening = Promise.withResolvers<void>();
  readonly #count: number;
  #come = 0;

  constructor(count: number) {
    this.#count = count;
  }

  async pass(): Promise<void> {
    if (++this.#come >= this.#count) {
      this.isOpen = true;
      this.#opening.resolve();
    }
    await this.#opening.promise;
  }
}
