/**
 * couchdb-backup: the library's API, and the program when this file is run.
 *
 * @module
 */
import { fstatSync } from "node:fs";
import process from "node:process";
import { main } from "./src/cli.ts";
import type { Output, Shell } from "./src/cli/shell.ts";
import { isJournal } from "./src/observe/log.ts";

if (import.meta.main) {
  const shell = processShell();
  // Set rather than exited with: output that is still on its way into a pipe must not be cut off.
  process.exitCode = await main(process.argv.slice(2), shell);
}

function processShell(): Shell {
  return {
    env: process.env,
    stdout: output(process.stdout),
    stderr: output(process.stderr),
    journal: process.env.JOURNAL_STREAM !== undefined && isJournal(process.env.JOURNAL_STREAM, fstatSync(2)),
    onSignal(listener) {
      process.on("SIGINT", listener);
      process.on("SIGTERM", listener);
      process.on("SIGHUP", listener);
      return () => {
        process.off("SIGINT", listener);
        process.off("SIGTERM", listener);
        process.off("SIGHUP", listener);
      };
    },
    exit: (code) => process.exit(code),
  };
}

function output(stream: typeof process.stdout | typeof process.stderr): Output {
  return {
    write: (text) => void stream.write(text),
    isTerminal: stream.isTTY === true,
    columns: () => stream.columns || 80,
  };
}
