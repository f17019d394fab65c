/**
 * The door to `@std/yaml`, whose JavaScript has no types. In, a text; out, its value, of which nothing is known yet but
 * that it is no larger than a config can be.
 */
import { parse, YamlSyntaxError } from "@std/yaml";
import type { ParserComplaint } from "./syntax.ts";

/** A config has four levels; what has so many makes whoever walks through it run out of stack. */
const MOST_LEVELS = 20;
/** Ten thousand databases by name are as many values. An alias counts with all that it stands for. */
const MOST_VALUES = 200_000;

/** The text is YAML, and of a size that no config has: a sentence without a full stop. */
export class YamlSizeError extends Error {
  override readonly name: string = "YamlSizeError";
}

/**
 * Parses YAML by its core schema: dates and binaries stay texts.
 *
 * @throws what {@linkcode isYamlComplaint} knows, and {@linkcode YamlSizeError}.
 */
export function parseYaml(text: string): unknown {
  let value: unknown;
  try {
    value = parse(text, { schema: "core" });
  } catch (error) {
    // The parser calls itself for each level, and the engine says so when there are too many.
    if (error instanceof RangeError) throw tooDeep();
    throw error;
  }
  checkSize(value);
  return value;
}

/**
 * The same of a text that {@linkcode parseYaml} has read, each scalar as the text that stands there: `010`, `true`, `8`.
 */
export function parseYamlTexts(text: string): unknown {
  // This schema knows texts alone, and no tag of another kind.
  return parse(text.replaceAll(/(?<![^\s,[{])!!(?:int|float|bool|null)(?=\s)/g, "!!str"), { schema: "failsafe" });
}

/**
 * Goes through a value level by level, as a few lines of aliases can stand for more than memory holds, or for
 * themselves.
 */
function checkSize(value: unknown): void {
  let values = 0;
  let level: object[] = isHolder(value) ? [value] : [];
  for (let depth = 1; level.length > 0; depth++) {
    if (depth > MOST_LEVELS) throw tooDeep();
    const below: object[] = [];
    for (const holder of level) {
      for (const one of Object.values(holder)) {
        if (++values > MOST_VALUES) throw new YamlSizeError(`It has more than ${MOST_VALUES} values`);
        if (isHolder(one)) below.push(one);
      }
    }
    level = below;
  }
}

function isHolder(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

function tooDeep(): YamlSizeError {
  return new YamlSizeError(`It is nested more than ${MOST_LEVELS} levels deep`);
}

/** Whether an error is the parser's, about the text. */
export function isYamlComplaint(error: unknown): error is Error & ParserComplaint {
  return error instanceof YamlSyntaxError;
}
