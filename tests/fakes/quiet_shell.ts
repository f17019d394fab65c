/** A process that is never sent a signal, and keeps what is printed. */
import type { Shell } from "../../src/cli/shell.ts";
import { outputTo } from "./output.ts";

export class QuietShell implements Shell {
  out = "";
  err = "";
  /** Both, as they came. */
  printed = "";
  journal = false;
  readonly stdout: Shell["stdout"] = outputTo((text) => {
    this.out += text;
    this.printed += text;
  });
  readonly stderr: Shell["stderr"] = outputTo((text) => {
    this.err += text;
    this.printed += text;
  });
  readonly env: Record<string, string>;

  constructor(env: Record<string, string> = {}) {
    this.env = env;
  }

  onSignal(): () => void {
    return () => {};
  }

  exit(code: number): never {
    throw new Error(`It left with ${code}`);
  }
}
