/**
 * Starts a run as an execution of a state machine in AWS Step Functions. In: the state machine, a name and an input. Out:
 * the execution's ARN. A name is used once, so that starting a run twice starts it once.
 *
 * @see https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
 */
import { createHash } from "node:crypto";
import { AwsError } from "../errors.ts";
import { callAws } from "./json_api.ts";
import type { AwsCallOptions, AwsOptions } from "./options.ts";

/** Step Functions' limit for the name of an execution. */
const MAX_NAME_LENGTH = 80;

/**
 * The name of an execution: `weekly-20260103T180000Z`. Characters that Step Functions refuses become `_`, and a checksum
 * keeps names apart that would become the same.
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

/**
 * Starts an execution; one of that name that exists already, running or ended, is as good.
 *
 * @returns The execution's ARN.
 * @throws AwsError with AWS's code, such as `AccessDeniedException` or `StateMachineDoesNotExist`.
 */
export async function startExecution(
  stateMachine: string,
  execution: { name: string; input: Record<string, unknown> },
  options: AwsOptions & AwsCallOptions,
): Promise<string> {
  const { name, input } = execution;
  try {
    await callAws({
      service: "states",
      region: stateMachine.split(":")[3] ?? "",
      target: "AWSStepFunctions.StartExecution",
      version: "1.0",
      input: { stateMachineArn: stateMachine, name, input: JSON.stringify(input) },
      action: `start the execution "${name}"`,
      right: "states:StartExecution on the state machine",
    }, options);
  } catch (error) {
    const exists = error instanceof AwsError && error.facts.code === "ExecutionAlreadyExists";
    if (!exists) throw error;
  }
  return `${stateMachine.replace(":stateMachine:", ":execution:")}:${name}`;
}
