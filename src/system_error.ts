/** What the operating system says of a file that it does not give. In: an error. Out: its code. Pure. */

/** The code of a system error, `""` for anything else. */
export function errorCode(error: unknown): string {
  if (typeof error !== "object" || error === null || !("code" in error)) return "";
  return typeof error.code === "string" ? error.code : "";
}
