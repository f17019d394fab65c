/**
 * The environment, as the config uses it: `${NAME}` in its texts, and variables that say what it leaves out. In: a
 * record of variables; nobody here asks the system for them. Pure.
 */
import type { ConfigFinding } from "./findings.ts";
import type { KeyPath } from "./places.ts";

/** The environment's variables. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** The first of the variables that is set and not empty. */
export function held(env: Environment, ...names: string[]): string | undefined {
  return names.map((name) => env[name]).find((value) => value !== undefined && value !== "");
}

const REFERENCE = /\$\$\{|\$\{([^}]*)\}?/g;
const VARIABLE_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** Replaces `${NAME}` in every string, once: what a variable holds is neither YAML nor searched for references. */
export function substitute(written: unknown, env: Environment): { document: unknown; unset: ConfigFinding[] } {
  const unset: ConfigFinding[] = [];
  const walk = (value: unknown, path: KeyPath): unknown => {
    if (Array.isArray(value)) return value.map((item, index) => walk(item, [...path, index]));
    if (typeof value === "object" && value !== null) {
      return Object.fromEntries(Object.entries(value).map(([key, below]) => [key, walk(below, [...path, key])]));
    }
    if (typeof value !== "string") return value;
    return value.replace(REFERENCE, (reference, name: string | undefined) => {
      if (name === undefined) return "${";
      const held = VARIABLE_NAME.test(name) ? env[name] : undefined;
      if (held !== undefined) return held;
      const closed = VARIABLE_NAME.test(name) && reference.endsWith("}");
      const message = closed
        ? `uses the environment variable ${name}, which is not set`
        : 'has a "${" that is not followed by a variable\'s name and "}"; write "$${" for a literal "${"';
      unset.push({ path, message });
      return reference;
    });
  };
  return { document: walk(written, []), unset };
}
