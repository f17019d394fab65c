/**
 * A program that pretends to back up three databases, logs along the way, and shows how it comes along as the real one
 * does: bars where standard error is a terminal, lines elsewhere. The argument is how long it takes, in milliseconds.
 */
import { openLog } from "../../src/observe/log.ts";
import { openProgressLines } from "../../src/observe/progress.ts";
import { openProgressBars } from "../../src/observe/progress_bars.ts";

const STEPS = 30;
const stepMs = Number(Deno.args[0]) / (3 * STEPS);
const encoder = new TextEncoder();
const write = (text: string) => void Deno.stderr.writeSync(encoder.encode(text));
const columns = () => Deno.consoleSize().columns;

const terminal = Deno.stderr.isTerminal();
const bars = terminal ? openProgressBars({ write, columns, intervalMs: 50 }) : undefined;
const { log } = openLog({ level: "info", write: bars?.writeLine.bind(bars) ?? ((line) => write(`${line}\n`)) });
const progress = bars ?? openProgressLines({ log, intervalMs: 100 });

progress.runStarted({ action: "backup", databases: 3 });
for (const database of ["first", "account/ab/cd/0123456789abcdef", "last"]) {
  progress.databaseStarted({ database, documents: STEPS * 1000 });
  for (let step = 1; step <= STEPS; step++) {
    await new Promise((resolve) => setTimeout(resolve, stepMs));
    progress.advanced({ documents: 1000, bytes: 1_000_000 });
    if (step % 10 === 0) log.info("Chunk stored", { database, chunk: step / 10 });
  }
  progress.databaseFinished({ database, ok: true });
}
progress.runFinished();
write("The end\n");
