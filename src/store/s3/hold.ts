/** What keeps an object from being deleted for good. In: the headers of an answer to HEAD or GET. Out: a phrase. */

/** The headers of a request that locks what it stores, and of an answer about what is locked. */
export const LOCK_MODE = "x-amz-object-lock-mode";
export const LOCK_UNTIL = "x-amz-object-lock-retain-until-date";

/** The rights that AWS asks for, to store an object with these headers. */
export function rightsToStore(headers: Record<string, string>): string {
  return LOCK_MODE in headers ? "s3:PutObject and s3:PutObjectRetention" : "s3:PutObject";
}

/**
 * `locked until 2027-01-01T00:00:00.000Z`, or `under a legal hold`; undefined where the answer names nothing of the
 * kind.
 */
export function holdOf(headers: Headers): string | undefined {
  if (headers.get("x-amz-object-lock-legal-hold") === "ON") return "under a legal hold";
  const until = new Date(headers.get(LOCK_UNTIL) ?? "");
  const serverNow = new Date(headers.get("date") ?? "").getTime() || Date.now();
  return until.getTime() > serverNow ? `locked until ${until.toISOString()}` : undefined;
}
