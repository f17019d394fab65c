/** The door to `@std/cli`, whose JavaScript has no types. In, arguments; out, flags and operands. */
import { parseArgs as parse } from "@std/cli/parse-args";

/** What flags there are, by their names without dashes. */
export interface FlagNames {
  /** Flags with a value; their value is a text. */
  string: readonly string[];
  /** Flags that are on or off. */
  boolean: readonly string[];
  /** Flags that may be repeated: their value is an array. */
  collect: readonly string[];
  /** A flag's other names. */
  alias: Readonly<Record<string, readonly string[]>>;
  /** Called with an argument that is none of these; what it throws is thrown. */
  unknown: (arg: string) => void;
}

/** What arguments say. */
export interface ParsedArgs {
  /** `true`, `false`, a text or an array of these, by the flag's name and by its other names. */
  flags: Readonly<Record<string, unknown>>;
  /** What is no flag, in its order; `007` stays as it is written. */
  operands: string[];
}

/** Sorts arguments into flags and operands. */
export function parseArgs(argv: readonly string[], names: FlagNames): ParsedArgs {
  const { _: operands, ...flags }: Record<string, unknown> & { _: (string | number)[] } = parse(
    withDashes(argv, names.string),
    {
      ...names,
      // Else an operand that looks like a number becomes one.
      string: [...names.string, "_"],
    },
  );
  return { flags, operands: operands.map(String) };
}

/** The package takes `-` after a flag for another flag; it is a value, standard input's name. */
function withDashes(argv: readonly string[], valued: readonly string[]): string[] {
  const end = argv.indexOf("--");
  const isValue = (index: number) => {
    const flag = argv[index - 1] ?? "";
    return argv[index] === "-" && flag.startsWith("--") && valued.includes(flag.slice(2)) && (end < 0 || index < end);
  };
  return argv.flatMap((arg, index) => isValue(index) ? [] : isValue(index + 1) ? [`${arg}=-`] : [arg]);
}
