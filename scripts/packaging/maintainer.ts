/**
 * Who passes the packages on: Debian's Maintainer, who also signs its changelog, and rpm's Packager. In: what the
 * builder says. Out: the field's value.
 */
import { BuildError } from "../artifact.ts";

/** For packages that nobody passes on. RFC 2606 keeps the ending .invalid free of owners. */
export const NOBODY = "The couchdb-backup developers <developers@couchdb-backup.invalid>";

/**
 * The field's value in both formats: a name, and an address in angle brackets.
 *
 * @throws BuildError for what one of them would read as something else. Debian's Policy (5.6.2) reads a comma as the
 * beginning of a further maintainer; a line break would begin a further field in either format.
 */
export function maintainerOf(text: string = NOBODY): string {
  if (/^[^\s<>@,"\p{Cc}](?:[^<>@,"\p{Cc}]*[^\s<>@,"\p{Cc}])? <[^\s<>@,"]+@[^\s<>@,"]+>$/u.test(text)) return text;
  throw new BuildError(
    `--maintainer is ${
      JSON.stringify(text)
    }: write it as "Jane Doe <jane@example.com>", without commas and quotation marks`,
  );
}
