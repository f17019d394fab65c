import { assertEquals } from "@std/assert";
import { addressesOf } from "../../src/aws/json_api.ts";

Deno.test("addressesOf() names the dual-stack address of a region's partition first, then the older one", () => {
  const cases = [
    ["eu-west-1", "states.eu-west-1.api.aws", "states.eu-west-1.amazonaws.com"],
    ["us-gov-west-1", "states.us-gov-west-1.api.aws", "states.us-gov-west-1.amazonaws.com"],
    ["cn-north-1", "states.cn-north-1.api.amazonwebservices.com.cn", "states.cn-north-1.amazonaws.com.cn"],
    ["eusc-de-east-1", "states.eusc-de-east-1.api.amazonwebservices.eu", "states.eusc-de-east-1.amazonaws.eu"],
  ];
  for (const [region = "", ...hosts] of cases) {
    assertEquals(addressesOf({ service: "states", region }), hosts.map((host) => `https://${host}`));
  }
});
