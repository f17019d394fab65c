/**
 * What the Lambda function is told: the contract between the program, the schedule and the state machines in
 * template.yaml, whose other half is answers.ts. In: an event as it came. Out: the same, checked, with instants as dates.
 */
import * as z from "zod";
import { UsageError } from "../src/errors.ts";

const instant = z.iso.datetime({ offset: true, error: "must be an instant such as 2026-01-03T18:00:00Z" })
  .transform((text) => new Date(text));
const name = z.string({ error: "must be text" }).min(1, { error: "must not be empty" });
const only = z.enum(["all", "failed"], { error: 'must be "all" or "failed"' }).default("all");

/** Which run of the elapse it is, from 1; 0 where the plan is to find out, and after it where the elapse was over. */
const generation = z.int({ error: "must be a whole number" }).min(0, { error: "must not be negative" }).default(0);

const patterns = z.array(name, { error: "must be a list of patterns" }).optional();
const isOn = z.boolean({ error: "must be true or false" }).default(false);

/** Where the schema of a request stands in one of a step, its fields are checked by the same rules. */
const restoreRequest = {
  action: z.literal("restore"),
  path: name,
  match: patterns,
  exclude: patterns,
  map: z.array(name, { error: 'must be a list of "FROM=TO"' }).optional(),
  gone: isOn,
  into_existing: isOn,
  salvage: isOn,
  allow_plain: isOn,
  parallel: z.int({ error: "must be a whole number" }).min(1, { error: "must be from 1 to 32" })
    .max(32, { error: "must be from 1 to 32" }).optional(),
};
const request = z.strictObject(restoreRequest);
const stretch = z.strictObject({ from: name, to: name });
const results = z.array(z.looseObject({ error: z.string().nullable() }));

const SCHEMAS: { [Kind in keyof EventKinds]: z.ZodType<EventKinds[Kind]> } = {
  tick: z.object({ source: z.literal("aws.events"), time: instant }),
  plan: z.strictObject({
    action: z.literal("plan"),
    task: name,
    elapse: instant,
    only,
    generation,
    execution: name.optional(),
    batches: isOn,
  }),
  backupBatch: z.strictObject({
    action: z.literal("backup"),
    task: name,
    elapse: instant,
    databases: z.array(name, { error: "must be a list of databases" }).min(1, { error: "must not be empty" }),
    cursor: z.string().nullable().default(null).transform((text) => text || null),
    broken: z.int({ error: "must be a whole number" }).min(0, { error: "must not be negative" }).default(0),
    why: z.string({ error: "must be text" }).default(""),
    generation,
  }),
  backup: z.strictObject({
    action: z.literal("backup"),
    task: name,
    elapse: instant,
    database: name,
    // The state machine begins with "": CloudFormation takes no null in a template.
    cursor: z.string().nullable().default(null).transform((text) => text || null),
    generation,
  }),
  summarise: z.strictObject({
    action: z.literal("summarise"),
    task: name,
    elapse: instant,
    only,
    generation,
    map: z.looseObject({ Error: z.string().optional(), Cause: z.string().optional() }).optional(),
  }),
  expire: z.strictObject({
    action: z.literal("expire"),
    confirm: z.boolean({ error: "must be true or false" }).default(false),
    tasks: z.array(name, { error: "must be a list of names" }).optional(),
  }),
  run: z.strictObject({ task: name, elapse: instant.optional(), only }),
  restore: request,
  restorePlan: z.strictObject({ action: z.literal("restore"), step: z.literal("plan"), request }),
  restoreRound: z.strictObject({
    action: z.literal("restore"),
    step: z.literal("round"),
    request,
    moment: instant,
    stretch,
    cursor: z.string().nullable().default(null).transform((text) => text ?? ""),
  }),
  restoreSummary: z.strictObject({
    action: z.literal("restore"),
    step: z.literal("summarise"),
    request,
    moment: instant,
    started: instant,
    // What became of the stretches: a list, or, where it was broken off, these fields.
    map: z.union([results, z.looseObject({ Error: z.string().optional(), Cause: z.string().optional() })]),
  }),
};

/** EventBridge's tick: whatever is due at `time` is to run. The other fields that EventBridge sends are not used. */
export interface TickEvent {
  source: "aws.events";
  time: Date;
}

/** Which of the task's databases: all that it selects, or those that the last run for the same elapse did not save. */
export type Only = "all" | "failed";

/** The state machine asks what a run has to do. */
export interface PlanEvent {
  action: "plan";
  task: string;
  elapse: Date;
  only: Only;
  /** Which run of the elapse it is; 0 where nobody has said. */
  generation: number;
  /** The ARN of the execution that asks. */
  execution?: string | undefined;
  /** Whether it takes the databases in batches. */
  batches: boolean;
}

/** The state machine asks for some time's work on a batch of databases. */
export interface BackupBatchEvent {
  action: "backup";
  task: string;
  elapse: Date;
  databases: string[];
  /** What the call before it answered, at first null. */
  cursor: string | null;
  /** How many calls with this cursor have died. */
  broken: number;
  /** What the last one died of. */
  why: string;
  /** Which run of the elapse it is; 0 where nobody has said. */
  generation: number;
}

/** The state machine asks for one round of one database. */
export interface BackupEvent {
  action: "backup";
  task: string;
  elapse: Date;
  database: string;
  /** What the round before it answered, at first null. */
  cursor: string | null;
  /** Which run of the elapse it is; 0 where nobody has said. */
  generation: number;
}

/** The state machine asks how the run went. */
export interface SummariseEvent {
  action: "summarise";
  task: string;
  elapse: Date;
  only: Only;
  /** Which run of the elapse it is; 0 where nobody has said. */
  generation: number;
  /** What became of going through the databases; with these fields where it was broken off, whatever became of each. */
  map?: { Error?: string | undefined; Cause?: string | undefined } | undefined;
}

/** A person asks for a task to run: now, or, with an `elapse`, for the run of that elapse to go on. */
export interface RunEvent {
  task: string;
  elapse?: Date | undefined;
  only: Only;
}

/**
 * What no rule of its task keeps is to go, or without `confirm` to be named; the schedule of a function of its own
 * sends it.
 */
export interface ExpireEvent {
  action: "expire";
  confirm: boolean;
  /** Of these tasks alone; absent: of all that have a retention. */
  tasks?: string[] | undefined;
}

/** A person asks for all databases of a moment to be brought back; the flags of `restore --all` have these names. */
export interface RestoreEvent {
  action: "restore";
  /** `latest`, or a moment. */
  path: string;
  match?: string[] | undefined;
  exclude?: string[] | undefined;
  map?: string[] | undefined;
  gone: boolean;
  into_existing: boolean;
  salvage: boolean;
  allow_plain: boolean;
  /** Databases at the same time. @default 4 */
  parallel?: number | undefined;
}

/** The state machine that restores asks what there is to do. */
export interface RestorePlanEvent {
  action: "restore";
  step: "plan";
  request: RestoreEvent;
}

/** It asks for one round of the databases from one name to another. */
export interface RestoreRoundEvent {
  action: "restore";
  step: "round";
  request: RestoreEvent;
  moment: Date;
  stretch: { from: string; to: string };
  /** What the round before it answered, at first "". */
  cursor: string;
}

/** It asks how the restore went. */
export interface RestoreSummaryEvent {
  action: "restore";
  step: "summarise";
  request: RestoreEvent;
  moment: Date;
  started: Date;
  /** What the stretches came to; with these fields where going through them was broken off. */
  map: { error: string | null }[] | { Error?: string | undefined; Cause?: string | undefined };
}

/** The kinds of events. */
export interface EventKinds {
  tick: TickEvent;
  plan: PlanEvent;
  backup: BackupEvent;
  backupBatch: BackupBatchEvent;
  summarise: SummariseEvent;
  expire: ExpireEvent;
  run: RunEvent;
  restore: RestoreEvent;
  restorePlan: RestorePlanEvent;
  restoreRound: RestoreRoundEvent;
  restoreSummary: RestoreSummaryEvent;
}

/** An event of one of the kinds. */
export type LambdaEvent = { [Kind in keyof EventKinds]: { kind: Kind } & EventKinds[Kind] }[keyof EventKinds];

/**
 * Recognises an event.
 *
 * @throws UsageError saying which field is wrong, or which events there are.
 */
export function parseEvent(event: unknown): LambdaEvent {
  const kind = kindOf(event);
  if (kind === undefined) {
    throw new UsageError("Cannot understand the event: it is neither a tick, nor has it a known action, nor a task", {
      hint: 'Send {"task": "NAME"} to run a task; docs/lambda.md lists the events',
    });
  }
  const result = SCHEMAS[kind].safeParse(event);
  if (result.success) return { kind, ...result.data } as LambdaEvent;
  const [issue] = result.error.issues;
  const where = issue?.code === "unrecognized_keys" ? issue.keys.join(", ") : issue?.path.join(".");
  const what = issue?.code === "unrecognized_keys" ? "is not known" : issue?.message;
  throw new UsageError(`Cannot use the ${kind} event: "${where}" ${what}`);
}

function kindOf(event: unknown): keyof EventKinds | undefined {
  if (typeof event !== "object" || event === null || Array.isArray(event)) return undefined;
  const { source, action, step, task, databases } = event as Record<string, unknown>;
  if (source === "aws.events") return "tick";
  if (action === "restore") return kindOfRestore(step);
  if (action === "backup" && databases !== undefined) return "backupBatch";
  if (action === "plan" || action === "backup" || action === "summarise" || action === "expire") return action;
  return action === undefined && task !== undefined ? "run" : undefined;
}

function kindOfRestore(step: unknown): keyof EventKinds {
  if (step === "plan") return "restorePlan";
  if (step === "round") return "restoreRound";
  return step === "summarise" ? "restoreSummary" : "restore";
}
