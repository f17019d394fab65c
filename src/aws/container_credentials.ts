/**
 * The keys of the role of a container in ECS or EKS, from the agent that the environment names. In: the address and
 * what authorises. Out: keys that expire.
 *
 * @see https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
 */
import { readFile } from "node:fs/promises";
import { AwsError } from "../errors.ts";
import type { Secret } from "../secret.ts";
import type { Credentials } from "./credentials.ts";
import { askLocally, type LocalQuestion, parseRoleCredentials } from "./role_credentials.ts";

/** Where a container's agent is. */
export interface ContainerAgent {
  /** The whole URL. */
  url: string;
  /** Sent as `Authorization`. */
  token?: Secret | undefined;
  /** A file that holds it, read each time: EKS replaces it. Goes before `token`. */
  tokenFile?: string | undefined;
}

/** Hosts that may be asked without TLS: this machine, and the agents of ECS and EKS. */
const PLAIN_HOSTS = /^(127(\.\d+){3}|localhost|\[::1\]|169\.254\.170\.2|169\.254\.170\.23|\[fd00:ec2::23\])$/;
const TIMEOUT_MS = 5_000;

/**
 * Asks the agent for the keys of the container's role.
 *
 * @throws AwsError with code `no_credentials`.
 */
export async function readContainerCredentials(agent: ContainerAgent): Promise<Credentials> {
  const url = URL.canParse(agent.url) ? new URL(agent.url) : undefined;
  if (url === undefined || !(url.protocol === "https:" || PLAIN_HOSTS.test(url.hostname))) {
    throw new AwsError(
      `Cannot get AWS keys from "${agent.url}": it must be an https:// URL, or one of this machine or of the container's agent`,
      { code: "no_credentials" },
      { hint: "AWS_CONTAINER_CREDENTIALS_FULL_URI is set by ECS and EKS; unset it elsewhere" },
    );
  }
  const token = agent.tokenFile === undefined ? agent.token?.reveal() : await readToken(agent.tokenFile);
  const question: LocalQuestion = {
    url: url.href,
    service: "the container's agent",
    headers: token === undefined ? {} : { Authorization: token },
    timeoutMs: TIMEOUT_MS,
  };
  return parseRoleCredentials(await askLocally(question), question);
}

async function readToken(file: string): Promise<string> {
  try {
    return (await readFile(file, "utf8")).trim();
  } catch (cause) {
    throw new AwsError(`Cannot read the container's token "${file}"`, { code: "no_credentials" }, { cause });
  }
}
