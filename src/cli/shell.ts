/** What the program knows of the process it runs in. main.ts makes the real one, tests make their own. */

/** A stream that people or programs read. */
export interface Output {
  /**
   * Returns at once and never throws: what nobody reads any more is dropped. What could not be written for another
   * reason, such as a full disk, comes back as that reason.
   */
  write(text: string): Error | void;
  /**
   * Writes bytes and waits until there is room for more. False when nobody reads any more, or the disk does not take
   * them.
   */
  send(bytes: Uint8Array): Promise<boolean>;
  isTerminal: boolean;
  /** The width of the terminal in characters, asked each time. */
  columns(): number;
}

/** The process around a command. */
export interface Shell {
  env: Readonly<Record<string, string | undefined>>;
  /** The whole of standard input, as text. Asked once, and again it is the same text. @default there is none */
  readStandardInput?: () => Promise<string>;
  /** Results. */
  stdout: Output;
  /** Log, progress and errors. */
  stderr: Output;
  /** Whether stderr ends in systemd's journal. */
  journal: boolean;
  /** Calls back for SIGINT, SIGTERM and SIGHUP, until the returned function is called. */
  onSignal(listener: (signal: "SIGINT" | "SIGTERM" | "SIGHUP") => void): () => void;
  /** Ends the process at once. */
  exit(code: number): never;
}
