/** A string that no log, error or report can show by accident: it prints as `***` wherever a value is turned to text. */

const INSPECT_NODE = Symbol.for("nodejs.util.inspect.custom");
const INSPECT_DENO = Symbol.for("Deno.customInspect");

/**
 * A password, token or key.
 *
 * @example
 * ```ts
 * import { Secret } from "./secret.ts";
 * const password = new Secret("hunter2");
 * if (`${password}` !== "***" || JSON.stringify({ password }) !== '{"password":"***"}') throw new Error("shown");
 * ```
 */
export class Secret {
  readonly #value: string;

  /** Keeps a text from being shown. */
  constructor(value: string) {
    this.#value = value;
  }

  /** The text itself, for the one place that sends it. */
  reveal(): string {
    return this.#value;
  }

  /** `***` */
  toString(): string {
    return "***";
  }

  /** `***` */
  toJSON(): string {
    return "***";
  }

  /** `***`, for Node's `console.log` and `util.inspect`. */
  [INSPECT_NODE](): string {
    return "***";
  }

  /** `***`, for Deno's `console.log` and `Deno.inspect`. */
  [INSPECT_DENO](): string {
    return "***";
  }
}
