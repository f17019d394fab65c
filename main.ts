/**
 * The program: the process, its arguments and its environment become one call of the command line, or, where Lambda
 * started it, the loop that answers events. Only this file knows the process.
 */
import { fstatSync, writeSync } from "node:fs";
import process from "node:process";
import { main } from "./src/cli/cli.ts";
import { guardEnvironment } from "./src/config/environment.ts";
import type { Output, Shell } from "./src/cli/shell.ts";
import { EXIT } from "./src/errors.ts";
import { isJournal } from "./src/observe/log.ts";
import { complaintOfNode, PROGRAM_NAME } from "./src/version.ts";

/** A reader that went away: of a pipe (`| head -1`), or of a terminal that was closed, for which Node says EIO. */
const READER_GONE = new Set(["EPIPE", "EIO"]);

/** What {@linkcode Shell} promises to hear of. */
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Read once: a service that reads its config again finds the same text. */
let standardInput: Promise<string> | undefined;

// The script that starts a bundle has another HOME for Deno (scripts/runtime.ts), and the true one here.
const { COUCHDB_BACKUP_HOME: home } = process.env;
if (home !== undefined) {
  delete process.env.COUCHDB_BACKUP_HOME;
  if (home === "") delete process.env.HOME;
  else process.env.HOME = home;
}

// npm installs the package under an older Node with a warning; there it would end with an error of Node's somewhere.
const complaint = complaintOfNode(process.versions);
if (complaint !== undefined) {
  process.stderr.write(`${PROGRAM_NAME}: ${complaint}\n`);
  process.exit(EXIT.usage);
}

const api = process.env.AWS_LAMBDA_RUNTIME_API;
if (api !== undefined) {
  const { startLambda } = await import("./lambda/start.ts");
  const stdout = output(process.stdout);
  const write = (line: string) => stdout.write(`${line}\n`);
  // Exited with rather than set: a handler that does not stop must not go on in a process that has given up on it.
  process.exit(await startLambda({ api, env: process.env, write }));
}
const shell = processShell();
// Set rather than exited with: output that is still on its way into a pipe must not be cut off.
process.exitCode = await main(process.argv.slice(2), shell);

async function readText(stream: AsyncIterable<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const bytes of stream) text += decoder.decode(bytes, { stream: true });
  return text + decoder.decode();
}

function processShell(): Shell {
  return {
    env: guardEnvironment(process.env),
    readStandardInput: () => standardInput ??= readText(process.stdin),
    stdout: output(process.stdout),
    stderr: output(process.stderr),
    journal: process.env.JOURNAL_STREAM !== undefined && isJournal(process.env.JOURNAL_STREAM, fstatSync(2)),
    onSignal(listener) {
      for (const signal of SIGNALS) process.on(signal, listener);
      return () => {
        for (const signal of SIGNALS) process.off(signal, listener);
      };
    },
    exit: (code) => process.exit(code),
  };
}

/** Whether a descriptor is that of a file or a device, rather than a pipe or a socket with a reader behind it. */
function isOnDisk(fd: number): boolean {
  try {
    const found = fstatSync(fd);
    return !found.isFIFO() && !found.isSocket();
  } catch {
    return false; // It was closed before the program began.
  }
}

/** Writes all bytes, however few the system takes at once. */
function writeWhole(fd: number, bytes: Uint8Array): void {
  for (let written = 0; written < bytes.length;) written += writeSync(fd, bytes, written);
}

/**
 * A stream whose reader may go away, which must not end a backup: what it would have read is dropped. A result that the
 * disk did not take is another matter: nobody may take half of it for the whole.
 */
function output(stream: typeof process.stdout | typeof process.stderr): Output {
  let gone = false;
  let incomplete = false;
  const lose = (error: Error & { code?: string }): Error | void => {
    gone ||= READER_GONE.has(error.code ?? "");
    if (gone) return;
    if (incomplete || stream === process.stderr) return error;
    incomplete = true;
    process.stderr.write(`${PROGRAM_NAME}: Cannot write the result: ${error.message}\n`);
    process.on("exit", () => process.exitCode ||= EXIT.unexpected);
    return error;
  };
  const isFile = !stream.isTTY && isOnDisk(stream.fd);
  // A pipe tells it by an event, which without a listener ends the process; a file and a terminal throw.
  stream.on("error", lose);
  return {
    write(text) {
      if (gone) return;
      try {
        // A stream keeps all that follows a write that failed, in memory and for ever.
        if (isFile) writeWhole(stream.fd, new TextEncoder().encode(text));
        else stream.write(text);
      } catch (error) {
        return lose(error as Error);
      }
    },
    async send(bytes) {
      if (gone || incomplete) return false;
      try {
        // The stream holds on to the bytes until they are written, and what they are cut from is written over then. No
        // copy is made instead: megabytes of them would wait for V8 to let go of them.
        if (isFile) writeWhole(stream.fd, bytes);
        else {
          await new Promise<void>((resolve, reject) => {
            stream.write(bytes, (error) => error ? reject(error) : resolve());
          });
        }
      } catch (error) {
        lose(error as Error);
      }
      return !gone && !incomplete;
    },
    isTerminal: stream.isTTY === true,
    columns: () => stream.columns || 80,
  };
}
