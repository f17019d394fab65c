/** What ends a database that is in hand and asks CouchDB nothing more, as it would meet what another one has met. */

/** Thrown where the next request would be made; its cause is what the other one has met. */
export class NotTried extends Error {
  override readonly name: string = "NotTried";

  constructor(cause: unknown) {
    super("It would fail like the one before", { cause });
  }
}
