/**
 * What is made when it is first wanted, and then kept. In: how it is made. Out: a function that has it. For what costs a
 * start that may never need it, such as the schemas of files that only some commands read.
 */
export function lazily<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}
