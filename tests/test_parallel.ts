/**
 * How many requests a backup under test may have in flight, where the test does not say: TEST_PARALLEL, so that a suite
 * can be run with one, few and many (docs/development.md).
 */

/**
 * From 1 to 32. @throws where TEST_PARALLEL is something else: a suite must not run with another number than was asked
 * for.
 */
export function testParallel(otherwise: number): number {
  const text = Deno.env.get("TEST_PARALLEL");
  if (text === undefined || text === "") return otherwise;
  const number = Number(text);
  if (Number.isInteger(number) && number >= 1 && number <= 32) return number;
  throw new Error(`TEST_PARALLEL is "${text}", and must be a whole number from 1 to 32`);
}
