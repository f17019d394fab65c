/**
 * How many documents are put into the order of their ids together. The more, the less CouchDB has to do to read them,
 * and later to write them; but a run that is interrupted within them goes on before the first of them. So it is what is
 * stored within two seconds. In: what was stored. Out: a number of documents.
 */

const SECONDS = 2;
/** More gain little, and take memory. */
export const MOST_REACH: number = 20_000;
/** What was stored in so many seconds counts; what was before that counts less and less. */
const MEMORY_SECONDS = 10;

/** The reach of one database's listing. */
export class Reach {
  readonly #now: () => number;
  #documents = 0;
  #begunAtMs: number | undefined;

  /** @param now Milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** How many documents may be taken together, from now on: none while nobody knows. */
  get documents(): number {
    if (this.#begunAtMs === undefined) return 0;
    const seconds = (this.#now() - this.#begunAtMs) / 1000;
    return Math.min(MOST_REACH, Math.floor(this.#documents / Math.max(seconds, 0.001) * SECONDS));
  }

  /** Documents are asked for. */
  begin(): void {
    this.#begunAtMs ??= this.#now();
  }

  /** Documents are stored that were asked for since it began. */
  note(documents: number): void {
    // Nothing was asked for since, so how long they took is not known.
    if (this.#begunAtMs === undefined) return;
    this.#documents += documents;
    const ms = this.#now() - this.#begunAtMs;
    if (ms < MEMORY_SECONDS * 1000) return;
    this.#documents /= 2;
    this.#begunAtMs += ms / 2;
  }
}
