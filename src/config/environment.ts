/**
 * The environment, as the config uses it: `${NAME}` in its texts, and variables that say what it leaves out. In: a
 * record of variables; nobody here asks the system for them. Pure.
 */
import { UsageError } from "../errors.ts";
import type { ConfigFinding } from "./findings.ts";
import type { KeyPath } from "./places.ts";
import { notUtf8 } from "./utf8.ts";

/** The environment's variables. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** The first of the variables that is set and not empty. */
export function held(env: Environment, ...names: string[]): string | undefined {
  return names.map((name) => env[name]).find((value) => value !== undefined && value !== "");
}

/** The value of a variable that is not UTF-8. */
const NOT_UTF8 = Symbol();

/** Deno throws for what is not UTF-8, with the value in its error: that may be a password. Node reads another value. */
function valueOf(env: Environment, name: string): string | undefined | typeof NOT_UTF8 {
  try {
    const value = env[name];
    return value !== undefined && notUtf8(value) !== undefined ? NOT_UTF8 : value;
  } catch {
    return NOT_UTF8;
  }
}

/** A process cannot see who has set a variable: these are all who may have done so. */
const WHERE_SET =
  "where the program is started: in the shell, in the systemd unit (Environment=, EnvironmentFile=), for the container or for the Lambda";

/** The environment of a process, of which no error shows a value; one that Deno cannot read is refused when asked for. */
export function guardEnvironment(env: Environment): Environment {
  return new Proxy(env, {
    get(target, name) {
      try {
        return Reflect.get(target, name);
      } catch {
        throw new UsageError(`The environment variable ${String(name)} is not UTF-8`, {
          hint: `Set ${String(name)} as UTF-8 ${WHERE_SET}, or unset it there`,
        });
      }
    },
  });
}

const REFERENCE = /\$\$\{|\$\{([^}]*)\}?/g;
const VARIABLE_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** A text of the config that uses a variable without a value, or has a `${` that uses none. */
export interface UnsetFinding extends ConfigFinding {
  /** The variable's name; absent where there is none. */
  variable?: string;
  /** It is set, to something that is not UTF-8. */
  isNotUtf8?: boolean;
}

/** What to do about them; undefined where it is no variable's fault. */
export function hintForUnset(unset: readonly UnsetFinding[]): string | undefined {
  const namesOf = (found: readonly UnsetFinding[]) =>
    listed([...new Set(found.flatMap(({ variable }) => variable === undefined ? [] : [variable]))]);
  const absent = namesOf(unset.filter(({ isNotUtf8 }) => isNotUtf8 !== true));
  const notUtf8 = namesOf(unset.filter(({ isNotUtf8 }) => isNotUtf8 === true));
  const parts = [...absent === "" ? [] : [absent], ...notUtf8 === "" ? [] : [`${notUtf8} as UTF-8`]];
  return parts.length === 0 ? undefined : `Set ${parts.join(", ")} ${WHERE_SET}`;
}

/** The variables that a text uses and that are set but empty. */
export function emptyVariablesIn(text: string, env: Environment): string[] {
  const names = [...text.matchAll(REFERENCE)].flatMap(([, name]) => name === undefined ? [] : [name]);
  return [...new Set(names)].filter((name) => VARIABLE_NAME.test(name) && valueOf(env, name) === "");
}

/** `A`, `A and B`, `A, B and C`. */
export function listed(names: readonly string[]): string {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

/** Replaces `${NAME}` in every string, once: what a variable holds is neither YAML nor searched for references. */
export function substitute(written: unknown, env: Environment): { document: unknown; unset: UnsetFinding[] } {
  const unset: UnsetFinding[] = [];
  const walk = (value: unknown, path: KeyPath): unknown => {
    if (Array.isArray(value)) return value.map((item, index) => walk(item, [...path, index]));
    if (typeof value === "object" && value !== null) {
      return Object.fromEntries(Object.entries(value).map(([key, below]) => [key, walk(below, [...path, key])]));
    }
    if (typeof value !== "string") return value;
    return value.replace(REFERENCE, (reference, name: string | undefined) => {
      if (name === undefined) return "${";
      const held = VARIABLE_NAME.test(name) ? valueOf(env, name) : undefined;
      if (held === NOT_UTF8) {
        const message = `uses the environment variable ${name}, which is not UTF-8`;
        unset.push({ path, message, variable: name, isNotUtf8: true });
        return reference;
      }
      if (held !== undefined) return held;
      const closed = VARIABLE_NAME.test(name) && reference.endsWith("}");
      const message = closed
        ? `uses the environment variable ${name}, which is not set`
        : 'has a "${" that is not followed by a variable\'s name and "}"; write "$${" for a literal "${"';
      unset.push({ path, message, ...closed ? { variable: name } : {} });
      return reference;
    });
  };
  return { document: walk(written, []), unset };
}
