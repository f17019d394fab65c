/** The commands that there are. In, nothing; out, each with a line of what it does and the way to load it. */
import type { Command } from "./command.ts";

/** A command that is not loaded yet. */
export interface CommandEntry {
  /** What it does, in a line. */
  summary: string;
  load: () => Promise<{ command: Command }>;
}

/** A command and what it does, in a line. */
export interface DescribedCommand {
  summary: string;
  command: Command;
}

/** Every command is loaded only when it is called: a start must cost next to nothing. */
export const COMMANDS: Readonly<Record<string, CommandEntry>> = {
  backup: { summary: "back up the databases a config selects", load: () => import("./backup.ts") },
  restore: { summary: "bring a backup back into a database", load: () => import("./restore.ts") },
  verify: { summary: "compare a backup with its manifest", load: () => import("./verify.ts") },
  "test-restore": { summary: "test backups: restore them and compare", load: () => import("./test_restore.ts") },
  list: { summary: "list the backups in the store, or CouchDB's databases", load: () => import("./list.ts") },
  show: { summary: "write one document of a backup to stdout", load: () => import("./show.ts") },
  export: { summary: "write the documents of a backup to stdout, one a line", load: () => import("./export.ts") },
  find: { summary: "show which revisions a document had in all backups", load: () => import("./find.ts") },
  diff: { summary: "show what changed between two backups, or since one", load: () => import("./diff.ts") },
  expire: { summary: "delete the backups that no rule keeps, or show which", load: () => import("./expire.ts") },
  keep: { summary: "pin a backup, so that it never expires", load: () => import("./keep.ts") },
  unkeep: { summary: "remove the pin of a backup", load: () => import("./unkeep.ts") },
  plan: { summary: "show what each task selects, and when it runs next", load: () => import("./plan.ts") },
  status: { summary: "show the state of each task: saved, failed, late", load: () => import("./status.ts") },
  report: { summary: "make a page about the backups", load: () => import("./report.ts") },
  schedule: { summary: "run as a service: each task when it is due", load: () => import("./schedule.ts") },
  systemd: { summary: "print unit and timer files for systemd", load: () => import("./systemd.ts") },
  check: { summary: "try everything that a backup needs", load: () => import("./check.ts") },
  completions: { summary: "print completions for a shell", load: loadCompletions },
};

async function loadCompletions(): Promise<{ command: Command }> {
  const { completionsCommand } = await import("./completions.ts");
  return { command: completionsCommand(loadCommands) };
}

/** All of them, as --help lists them: what completions, man page and docs/commands.md are made of. */
export async function loadCommands(): Promise<DescribedCommand[]> {
  return await Promise.all(
    Object.values(COMMANDS).map(async ({ summary, load }) => ({ summary, command: (await load()).command })),
  );
}
