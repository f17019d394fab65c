/** The door to `@std/yaml`, whose JavaScript has no types. In, a text; out, its value, of which nothing is known yet. */
import { parse, YamlSyntaxError } from "@std/yaml";
import type { ParserComplaint } from "./syntax.ts";

/** Parses YAML by its core schema: dates and binaries stay texts. @throws what {@linkcode isYamlComplaint} knows. */
export function parseYaml(text: string): unknown {
  return parse(text, { schema: "core" });
}

/** Whether an error is the parser's, about the text. */
export function isYamlComplaint(error: unknown): error is Error & ParserComplaint {
  return error instanceof YamlSyntaxError;
}
