/**
 * What the program and its tests rely on CouchDB for, as a table of checks through the HTTP API. The double and a real
 * CouchDB both run it: a double that behaves otherwise than CouchDB proves nothing.
 */
import type { Behaviour } from "./behaviour.ts";
import { DESIGN_BEHAVIOURS } from "./design_behaviours.ts";
import { FEED_BEHAVIOURS } from "./feed_behaviours.ts";
import { LISTING_BEHAVIOURS } from "./listing_behaviours.ts";
import { READING_BEHAVIOURS } from "./reading_behaviours.ts";
import { SERVER_BEHAVIOURS } from "./server_behaviours.ts";
import { WRITING_BEHAVIOURS } from "./writing_behaviours.ts";

/** The table. */
export const BEHAVIOURS: readonly Behaviour[] = [
  ...SERVER_BEHAVIOURS,
  ...LISTING_BEHAVIOURS,
  ...FEED_BEHAVIOURS,
  ...READING_BEHAVIOURS,
  ...WRITING_BEHAVIOURS,
  ...DESIGN_BEHAVIOURS,
];
