/**
 * What somebody who has just found the program needs: a config that works, and what to do with it. In `--help` and the
 * man page; tests hold them against README.md and take the steps. Pure.
 */

/** Six lines that work. */
export const SMALLEST_CONFIG: readonly string[] = [
  'database: { url: "http://127.0.0.1:5984", login: "admin", password: "${COUCHDB_PASSWORD}" }',
  "task:",
  "  nightly:",
  '    cron: "*-*-* 02:00:00"',
  '    databases: ["[a-z].*"]',
  'bucket: "/backups"',
];

/** Commands in the order in which they are first wanted, and what each is for. */
export const FIRST_STEPS: readonly { line: string; summary: string }[] = [
  { line: "couchdb-backup check cfg.yaml", summary: "try everything that a backup needs" },
  { line: "couchdb-backup backup cfg.yaml", summary: "back up every database of every task, now" },
  { line: "couchdb-backup list cfg.yaml", summary: "see what can be restored" },
  { line: "couchdb-backup restore orders_check latest/orders cfg.yaml", summary: "bring one back, under another name" },
  { line: "couchdb-backup diff orders_check latest/orders live cfg.yaml", summary: "compare it with its backup" },
  { line: "couchdb-backup schedule cfg.yaml", summary: "stay, and run each task when it is due" },
];
