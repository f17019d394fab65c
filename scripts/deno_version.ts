/**
 * The version of Deno that all is built, tested and shipped with. Named here, and wherever a shell or a page has to write
 * it out; tests/scripts/deno_version_test.ts compares these.
 */
export const DENO_VERSION = "2.9.6";
