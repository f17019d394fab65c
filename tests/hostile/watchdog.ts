/**
 * Ends a test process that a case keeps busy for ever: a loop without an await lets no timer run in its own thread. In:
 * a case's name and its time. Out: nothing, or the name on standard error and the end of the process.
 */

/** Watches cases, one at a time. */
export interface Watchdog extends Disposable {
  begin(name: string, mostMs: number): void;
  end(): void;
}

/** Starts a thread that watches. */
export function watchCases(): Watchdog {
  const source = `
    let timer;
    self.onmessage = ({ data }) => {
      clearTimeout(timer);
      if (data === null) return;
      timer = setTimeout(() => {
        console.error("hostile: this case does not end: " + data.name);
        // The runner passes on what tests print, by a thread of the same process.
        setTimeout(() => Deno.kill(Deno.pid, "SIGKILL"), 1500);
      }, data.mostMs);
    };
  `;
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(url, { type: "module" });
  return {
    begin: (name, mostMs) => worker.postMessage({ name, mostMs }),
    end: () => worker.postMessage(null),
    [Symbol.dispose]() {
      worker.terminate();
      URL.revokeObjectURL(url);
    },
  };
}
