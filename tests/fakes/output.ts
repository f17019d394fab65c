/** A stream that hands what is written to a function, in place of a terminal or a file. */
import type { Output } from "../../src/cli/shell.ts";

/** An output that is no terminal. Bytes are taken for UTF-8, a call of `write` each. */
export function outputTo(write: (text: string) => void): Output {
  const decoder = new TextDecoder();
  return {
    write: (text) => void write(text),
    send: (bytes) => {
      write(decoder.decode(bytes, { stream: true }));
      return Promise.resolve(true);
    },
    isTerminal: false,
    columns: () => 80,
  };
}
