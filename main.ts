/**
 * The program: the process, its arguments and its environment become one call of the command line, or, where Lambda
 * started it, the loop that answers events. Only this file knows the process.
 */
import { fstatSync } from "node:fs";
import process from "node:process";
import { main } from "./src/cli/cli.ts";
import type { Output, Shell } from "./src/cli/shell.ts";
import { isJournal } from "./src/observe/log.ts";

const api = process.env.AWS_LAMBDA_RUNTIME_API;
if (api !== undefined) {
  const { startLambda } = await import("./lambda/start.ts");
  const write = (line: string) => void process.stdout.write(`${line}\n`);
  // Exited with rather than set: a handler that does not stop must not go on in a process that has given up on it.
  process.exit(await startLambda({ api, env: process.env, write }));
}
const shell = processShell();
// Set rather than exited with: output that is still on its way into a pipe must not be cut off.
process.exitCode = await main(process.argv.slice(2), shell);

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
