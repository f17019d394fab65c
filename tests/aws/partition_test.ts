import { assertEquals } from "@std/assert";
import { addressesOf } from "../../src/aws/json_api.ts";

Deno.test("addressesOf() names the dual-stack address of a region's partition first, then the older one", () => {
  const cases = [
    ["eu-west-1", "states.eu-west-1.api.aws", "states.eu-west-1.amazonaws.com"],
    ["us-gov-west-1", "states.us-gov-west-1.api.aws", "states.us-gov-west-1.amazonaws.com"],
    ["cn-north-1", "states.cn-north-1.api.amazonwebservices.com.cn", "states.cn-north-1.amazonaws.com.cn"],
    ["eusc-de-east-1", "states.eusc-de-east-1.api.amazonwebservices.eu", "states.eusc-de-east-1.amazonaws.eu"],
  ];
  const fips = (service: "secretsmanager" | "states", region: string) => addressesOf({ service, region, fips: true });
  assertEquals(fips("secretsmanager", "us-gov-west-1"), [
    "https://secretsmanager-fips.us-gov-west-1.api.aws",
    "https://secretsmanager-fips.us-gov-west-1.amazonaws.com",
  ]);
  assertEquals(fips("states", "us-gov-west-1").at(-1), "https://states.us-gov-west-1.amazonaws.com");
  assertEquals(fips("states", "us-east-1").at(-1), "https://states-fips.us-east-1.amazonaws.com");
  for (const [region = "", ...hosts] of cases) {
    assertEquals(addressesOf({ service: "states", region }), hosts.map((host) => `https://${host}`));
  }
});
