/**
 * Starts a run as an execution of a state machine in AWS Step Functions, and looks which are running. In: the state
 * machine, a name and an input. Out: the execution's ARN. A name is used once, so that starting a run twice starts it
 * once.
 *
 * @see https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
 */
import { createHash } from "node:crypto";
import * as z from "zod";
import { AwsError } from "../errors.ts";
import { callAws } from "./json_api.ts";
import type { AwsCallOptions, AwsOptions } from "./options.ts";

/** Step Functions' limit for the name of an execution. */
const MAX_NAME_LENGTH = 80;

/**
 * The name of an execution: `weekly-20260103T180000Z`. Characters that Step Functions refuses become `_`, and a
 * checksum keeps names apart that would become the same.
 *
 * @param parts What the execution depends on, the task first.
 */
export function executionName(...parts: string[]): string {
  const [task = "", ...rest] = parts;
  const tail = rest.map((part) => `-${part}`).join("");
  const plain = task.replaceAll(/[^A-Za-z0-9_-]/g, "_");
  if (plain === task && task.length + tail.length <= MAX_NAME_LENGTH) return task + tail;
  const mark = `-${createHash("sha256").update(task).digest("hex").slice(0, 8)}`;
  return plain.slice(0, MAX_NAME_LENGTH - mark.length - tail.length) + mark + tail;
}

/** An execution, and whether it is this call that started it. */
export interface StartedExecution {
  arn: string;
  isNew: boolean;
}

/** How an execution stands, in the words of Step Functions. */
export type ExecutionStatus = "RUNNING" | "SUCCEEDED" | "FAILED" | "TIMED_OUT" | "ABORTED" | "PENDING_REDRIVE";

/**
 * Starts an execution; one of that name that exists already, running or ended, is left as it is.
 *
 * @throws AwsError with AWS's code, such as `AccessDeniedException` or `StateMachineDoesNotExist`.
 */
export async function startExecution(
  stateMachine: string,
  execution: { name: string; input: Record<string, unknown> },
  options: AwsOptions & AwsCallOptions,
): Promise<StartedExecution> {
  const { name, input } = execution;
  const arn = executionArn(stateMachine, name);
  try {
    await callAws({
      ...serviceOf(stateMachine),
      target: "AWSStepFunctions.StartExecution",
      input: { stateMachineArn: stateMachine, name, input: JSON.stringify(input) },
      action: `start the execution "${name}"`,
      right: "states:StartExecution on the state machine",
    }, options);
    return { arn, isNew: true };
  } catch (error) {
    const exists = error instanceof AwsError && error.facts.code === "ExecutionAlreadyExists";
    if (!exists) throw error;
    return { arn, isNew: false };
  }
}

/**
 * How an execution stands; undefined where there is none of that ARN.
 *
 * @see https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeExecution.html
 * @throws AwsError with AWS's code, such as `AccessDeniedException`.
 */
export async function executionStatus(
  arn: string,
  options: AwsOptions & AwsCallOptions,
): Promise<ExecutionStatus | undefined> {
  try {
    const answer = await callAws({
      ...serviceOf(arn),
      target: "AWSStepFunctions.DescribeExecution",
      input: { executionArn: arn },
      action: `look after the execution "${arn.split(":").at(-1)}"`,
      right: "states:DescribeExecution on the state machine's executions",
    }, options);
    const status = (answer as { status?: unknown } | null | undefined)?.status;
    return typeof status === "string" ? status as ExecutionStatus : undefined;
  } catch (error) {
    if (error instanceof AwsError && error.facts.code === "ExecutionDoesNotExist") return undefined;
    throw error;
  }
}

/** An execution that has not ended. */
export interface RunningExecution {
  arn: string;
  startedAt: Date;
}

const listSchema = z.object({
  executions: z.array(z.object({ executionArn: z.string(), startDate: z.number() })),
  nextToken: z.string().nullish(),
});
/** Of a hundred executions each; a state machine of ours has one. */
const MOST_PAGES = 100;

/**
 * The executions of a state machine that are running, without those of a Map's children. AWS may not name one yet that
 * was started a moment ago.
 *
 * @see https://docs.aws.amazon.com/step-functions/latest/apireference/API_ListExecutions.html
 * @throws AwsError with AWS's code, such as `AccessDeniedException`, or `bad_answer`.
 */
export async function runningExecutions(
  stateMachine: string,
  options: AwsOptions & AwsCallOptions,
): Promise<RunningExecution[]> {
  const running: RunningExecution[] = [];
  let nextToken: string | undefined;
  for (let page = 0; page < MOST_PAGES; page++) {
    const answer = await callAws({
      ...serviceOf(stateMachine),
      target: "AWSStepFunctions.ListExecutions",
      input: { stateMachineArn: stateMachine, statusFilter: "RUNNING", maxResults: 100, ...nextToken && { nextToken } },
      action: "list the executions that are running",
      right: "states:ListExecutions on the state machine",
    }, options);
    const { data } = listSchema.safeParse(answer);
    if (data === undefined) throw badList("an answer without a list");
    for (const { executionArn, startDate } of data.executions) {
      running.push({ arn: executionArn, startedAt: new Date(startDate * 1000) });
    }
    nextToken = data.nextToken ?? undefined;
    if (nextToken === undefined || nextToken === "") return running;
  }
  throw badList("a list that does not end");
}

function badList(what: string): AwsError {
  return new AwsError(`Cannot list the executions that are running: ${what}`, { code: "bad_answer" });
}

/** The ARN of an execution of that name. */
export function executionArn(stateMachine: string, name: string): string {
  return `${stateMachine.replace(":stateMachine:", ":execution:")}:${name}`;
}

function serviceOf(arn: string): { service: "states"; region: string; version: "1.0" } {
  return { service: "states", region: arn.split(":")[3] ?? "", version: "1.0" };
}
