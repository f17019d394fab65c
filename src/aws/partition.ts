/**
 * The parts of AWS that know nothing of each other, each with domains of its own. In: a region's name. Out: below which
 * domains its services answer.
 *
 * @see https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html
 */

/** The domains of a partition. */
export interface PartitionDomains {
  /** Of `SERVICE.REGION.` with IPv4, and of S3 with both. */
  domain: string;
  /** Of `SERVICE.REGION.` with IPv4 and IPv6. */
  dualStack: string;
}

/** By how a region's name begins; all others, GovCloud's too, are below AWS's first ones. */
const PARTITIONS: readonly [region: string, domains: PartitionDomains][] = [
  ["cn-", { domain: "amazonaws.com.cn", dualStack: "api.amazonwebservices.com.cn" }],
  ["eusc-", { domain: "amazonaws.eu", dualStack: "api.amazonwebservices.eu" }],
];
const COMMERCIAL: PartitionDomains = { domain: "amazonaws.com", dualStack: "api.aws" };

/** The domains below which the services of a region answer. */
export function domainsOf(region: string): PartitionDomains {
  return PARTITIONS.find(([prefix]) => region.startsWith(prefix))?.[1] ?? COMMERCIAL;
}
