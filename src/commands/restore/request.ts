/** Whether what is asked of a restore, of one database or of many, can be done. In: a request. Pure. */
import { UsageError } from "../../errors.ts";
import { mustBeCount, mustNameSome } from "../../request.ts";
import type { FleetRequest, RestoreRequest } from "./context.ts";

/**
 * Refuses what contradicts itself before anything begins.
 *
 * @throws UsageError
 */
export function mustBePossible({ ids, asNewRevision, parallel }: RestoreRequest | FleetRequest): void {
  mustNameSome(ids, "ids");
  mustBeCount(parallel, "parallel");
  if (asNewRevision !== true || ids !== undefined) return;
  // The command line says so in its own words before it comes to this.
  throw new UsageError('"asNewRevision" goes with "ids"', { hint: "Name in ids the documents to restore so" });
}
