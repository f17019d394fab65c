import { assertEquals, assertThrows } from "@std/assert";
import { parseArgs } from "../../src/cli/parse_args.ts";

const NAMES = {
  string: ["config", "single"],
  boolean: ["json"],
  collect: ["single"],
  alias: { config: ["c"] },
  unknown: (arg: string) => {
    if (arg.startsWith("-")) throw new Error(`Unknown: ${arg}`);
  },
};

Deno.test("parseArgs() sorts arguments into flags and operands, and leaves texts that look like numbers alone", () => {
  const { flags, operands } = parseArgs(["007", "-c", "1e3", "--json", "--single=a", "b", "--single", "c"], NAMES);
  assertEquals(operands, ["007", "b"]);
  assertEquals([flags.config, flags.json, flags.single], ["1e3", true, ["a", "c"]]);
  assertEquals(Object.hasOwn(flags, "_"), false);
});

Deno.test("parseArgs() hands out what is unknown", () => {
  assertThrows(() => parseArgs(["--jsno"], NAMES), Error, "Unknown: --jsno");
});

Deno.test("parseArgs() takes - for a flag's value, and behind another flag for an operand", () => {
  const parse = (...argv: string[]) => {
    const { flags, operands } = parseArgs(argv, { ...NAMES, unknown() {} });
    return [flags.config, flags.single, flags.json, operands];
  };
  assertEquals(parse("--config", "-", "a"), ["-", [], false, ["a"]]);
  assertEquals(parse("--json", "-"), [undefined, [], true, ["-"]]);
  assertEquals(parse("--single", "-", "--single", "b", "-"), [undefined, ["-", "b"], false, ["-"]]);
  assertEquals(parse("--", "--config", "-"), [undefined, [], false, ["--config", "-"]]);
});
