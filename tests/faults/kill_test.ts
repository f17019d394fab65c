/**
 * The process is ended by force at each of its steps in turn: at each operation on the store, before it and behind it,
 * at each step of the file system within one, and for real, by SIGKILL, at each request to CouchDB.
 */
import { fileURLToPath } from "node:url";
import { sync, writePart } from "../../src/store/directory/calls.ts";
import { DirectoryStore, type DirectoryStoreOptions } from "../../src/store/directory/store.ts";
import type { Store } from "../../src/store/store.ts";
import { judgeBackup } from "./backup_case.ts";
import { FaultProxy } from "./proxy.ts";
import { COUCH_PASSWORD, HARD, openS3, type Outcome, Program, TINY } from "./program.ts";
import { judgeRestore } from "./restore_case.ts";
import { copyInto, startS3 } from "./s3_scene.ts";
import { hastyClock, makeFolder, openSource, startCouch, through, urlOf } from "./scene.ts";
import { type End, never, runUntil } from "./stepped_store.ts";
import { PERMISSIONS } from "../../scripts/run_flags.ts";
import { sweep, type Verdict } from "./sweep.ts";

/** Resolves when the run has ended, or was ended. */
async function untilEnded(run: Promise<Outcome>, ended: Promise<void>): Promise<Outcome | undefined> {
  return await Promise.race([run, ended.then(() => undefined)]);
}

type Places = { steps: number };

async function endFolderBackup(end: End, resumed: boolean): Promise<Verdict & Places> {
  const source = await openSource();
  const before = end.place % 2 === 0 ? source.sameDay : source.earlier;
  const folder = await makeFolder(before);
  const open = () => new DirectoryStore(`${folder}/bucket`);
  const run = (store: Store, resume: boolean) =>
    new Program({ couch: source.server, store, parallel: 2, now: hastyClock() }).backup({ resume });
  try {
    if (resumed) await runUntil({ place: 16, isBehind: true }, open(), (store) => run(store, false));
    const { first, store, isMet, met } = await runUntil(end, open(), (store) => run(store, resumed));
    const resume = () => run(open(), true);
    return { ...await judgeBackup({ source, folder, before, first, isMet, met, resume }), steps: store.steps.length };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function endS3Backup(end: End): Promise<Verdict & Places> {
  const source = await openSource();
  const before = end.place % 2 === 0 ? source.sameDay : source.earlier;
  await using s3 = await startS3(before);
  const folder = await makeFolder();
  const run = (store: Store, resume: boolean) =>
    new Program({ couch: source.server, store, parallel: 2 }).backup({ resume });
  try {
    const { first, store, isMet, met } = await runUntil(end, openS3(s3.url), (store) => run(store, false));
    const verdict = await judgeBackup({
      source,
      folder,
      before,
      first,
      isMet,
      met,
      resume: () => run(openS3(s3.url), true),
      look: () => copyInto(folder, s3),
    });
    return { ...verdict, steps: store.steps.length };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Ends within an operation: at a write, a link or a sync of the file system. */
async function endFileStep(place: number): Promise<Verdict & Places> {
  const source = await openSource();
  const before = place % 2 === 0 ? source.sameDay : source.earlier;
  const folder = await makeFolder(before);
  const { promise, resolve } = Promise.withResolvers<void>();
  let steps = 0;
  let underWay = 0;
  const step = async <T>(run: () => Promise<T>): Promise<T> => {
    if (++steps >= place) {
      resolve();
      return await never();
    }
    underWay++;
    try {
      return await run();
    } finally {
      underWay--;
    }
  };
  // Steps go on side by side: those that were under way are carried out, and what is done behind them at once.
  const atRest = async () => {
    for (let seen = -1; underWay > 0 || seen !== steps;) {
      seen = steps;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  const options: DirectoryStoreOptions = {
    write: (file, bytes, start) =>
      // Half of it is on the disk when the process ends.
      step(() => writePart(file, bytes.subarray(0, start + Math.ceil((bytes.length - start) / 2)), start)),
    link: (existing, name) => step(() => Deno.link(existing, name)),
    sync: (file) => step(() => sync(file)),
  };
  const open = (more: DirectoryStoreOptions = {}) => new DirectoryStore(`${folder}/bucket`, more);
  const run = (store: Store, resume: boolean) => new Program({ couch: source.server, store }).backup({ resume });
  try {
    const first = await untilEnded(run(open(options), false), promise);
    await atRest();
    const resume = () => run(open(), true);
    return { ...await judgeBackup({ source, folder, before, first, isMet: steps >= place, resume }), steps };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** A restore that ends at a request to CouchDB: neither it nor any behind it is answered. */
async function endRestore(end: End): Promise<Verdict & Places> {
  const source = await openSource();
  await using target = await startCouch();
  await using proxy = await FaultProxy.start("couchdb", target.url);
  const folder = await makeFolder(source.earlier);
  const restore = (server: { url: string }, intoExisting: boolean) =>
    new Program({ couch: through(target, server), store: new DirectoryStore(`${folder}/bucket`) })
      .restore({ database: "back/again", path: `2026-01-02/${HARD}`, parallel: 1, intoExisting });
  try {
    const { promise, resolve } = Promise.withResolvers<void>();
    proxy.onRequest = (number) => {
      if (number < end.place) return;
      resolve();
      return never();
    };
    const first = await untilEnded(restore(proxy, false), promise);
    const isMet = proxy.requests.length >= end.place;
    const truth = source.truths.get(HARD)!;
    const again = () => restore(target, true);
    const verdict = await judgeRestore({ truth, target, database: "back/again", first, isMet, again });
    return { ...verdict, steps: proxy.requests.length };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** SIGKILL to a process of its own, when its n-th request to CouchDB comes. */
async function killProcess(place: number): Promise<Verdict & Places> {
  const source = await openSource();
  const before = place % 2 === 0 ? source.sameDay : source.earlier;
  await using proxy = await FaultProxy.start("couchdb", source.server.url);
  const folder = await makeFolder(before);
  try {
    await Deno.writeTextFile(
      `${folder}/config.yaml`,
      [
        `database: {url: "${proxy.url}", login: admin, password: "${COUCH_PASSWORD}"}`,
        `task: {all: {databases: ["${HARD}", ${TINY}], chunk: 20, parallel: 2, timezone: UTC}}`,
        `bucket: "${urlOf(`${folder}/bucket`)}"`,
      ].join("\n"),
    );
    const main = fileURLToPath(new URL("../../main.ts", import.meta.url));
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-prompt", "--no-check", ...PERMISSIONS, main, "backup", `${folder}/config.yaml`]
        .concat(["--date", "2026-01-03", "--quiet"]),
      env: { XDG_STATE_HOME: `${folder}/state` },
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    proxy.onRequest = (number) => {
      if (number === place) child.kill("SIGKILL");
    };
    const { signal } = await child.status;
    const steps = proxy.requests.length;
    proxy.onRequest = undefined;
    const run = new Program({ couch: source.server, store: new DirectoryStore(`${folder}/bucket`) });
    const verdict = await judgeBackup({
      source,
      folder,
      before,
      first: undefined,
      isMet: signal === "SIGKILL",
      met: proxy.requests[place - 1],
      resume: () => run.backup({ resume: true }),
    });
    return { ...verdict, steps };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const FAR = Number.MAX_SAFE_INTEGER - 1;

function endSweep(
  subject: string,
  fault: string,
  { attempt, parallel }: { attempt: (place: number) => Promise<Verdict & Places>; parallel?: number },
): void {
  sweep({
    subject,
    fault,
    ...(parallel === undefined ? {} : { parallel }),
    places: async () => (await attempt(FAR)).steps,
    attempt,
  });
}

endSweep("folder backup", "kill-before-step", {
  attempt: (place) => endFolderBackup({ place, isBehind: false }, false),
});
endSweep("folder backup", "kill-behind-step", {
  attempt: (place) => endFolderBackup({ place, isBehind: true }, false),
});
endSweep("folder resume", "kill-before-step", {
  attempt: (place) => endFolderBackup({ place, isBehind: false }, true),
});
endSweep("folder resume", "kill-behind-step", { attempt: (place) => endFolderBackup({ place, isBehind: true }, true) });
endSweep("folder backup", "kill-at-file-step", { attempt: endFileStep });
endSweep("s3 backup", "kill-before-step", { attempt: (place) => endS3Backup({ place, isBehind: false }) });
endSweep("s3 backup", "kill-behind-step", { attempt: (place) => endS3Backup({ place, isBehind: true }) });
endSweep("couchdb restore", "kill-at-request", { attempt: (place) => endRestore({ place, isBehind: false }) });
endSweep("folder backup", "kill-9", { attempt: killProcess, parallel: 2 });
