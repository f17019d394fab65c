/**
 * A string that no log, error or report can show by accident: it prints as `***` wherever a value is turned to text.
 * Pure.
 */

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
  static {
    for (const name of ["nodejs.util.inspect.custom", "Deno.customInspect"]) {
      Object.defineProperty(Secret.prototype, Symbol.for(name), { value: Secret.prototype.toString });
    }
  }

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
}
