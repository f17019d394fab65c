import { assert, assertEquals, assertThrows } from "@std/assert";
import { findingOf, type Lock, partOf } from "../../scripts/audit.ts";

const LOCK: Lock = {
  version: "5",
  specifiers: { "npm:a@1.0.0": "1.0.0", "npm:@x/b@2.0.0": "2.0.0", "npm:test-only@1.0.0": "1.0.0" },
  npm: {
    "a@1.0.0": { dependencies: ["c", "d@2.0.0"] },
    "@x/b@2.0.0": { optionalDependencies: ["c"] },
    "c@1.0.0": { dependencies: ["a"] },
    "d@1.0.0": {},
    "d@2.0.0": {},
    "test-only@1.0.0": { dependencies: ["d@1.0.0"] },
  },
};

Deno.test("partOf() keeps what some packages need, and nothing else", () => {
  const { imports, lock } = partOf(LOCK, ["a", "@x/b"]);
  assertEquals(imports, { "a": "npm:a@1.0.0", "@x/b": "npm:@x/b@2.0.0" });
  assertEquals(Object.keys(lock.npm).sort(), ["@x/b@2.0.0", "a@1.0.0", "c@1.0.0", "d@2.0.0"]);
  assertThrows(() => partOf({ ...LOCK, npm: { "a@1.0.0": { dependencies: ["z"] } } }, ["a"]), Error, '"z"');
});

Deno.test("partOf() of the project's own lock file has what the program loads, and not what its tests do", async () => {
  const lock = JSON.parse(await Deno.readTextFile(new URL("../../deno.lock", import.meta.url)));
  const part = partOf(lock, ["zod", "aws4fetch", "deno-std", "fast-xml-parser", "@aws-sdk/credential-provider-ini"]);
  const names = Object.keys(part.lock.npm);
  assert(names.some((name) => name.startsWith("zod@")) && names.some((name) => name.startsWith("strnum@")));
  assert(!names.some((name) => /^(express|pouchdb|rollup)@/.test(name)));
});

Deno.test("findingOf() tells a service that cannot be reached from a package that is vulnerable", () => {
  const unreachable = "error: error sending request for url (https://…/advisories/bulk): client error (Connect)";
  assertEquals(findingOf({ code: 0, text: "No known vulnerabilities found" }), "nothing");
  assertEquals(findingOf({ code: 1, text: unreachable }), "unreachable");
  const advisory =
    "╭ ReDoS in semver\n│   Severity:  high\n│   Info: https://github.com/advisories/GHSA-5403-rxjj-qqgw";
  assertEquals(findingOf({ code: 1, text: advisory }), "vulnerable");
  assertEquals(findingOf({ code: 1, text: "╭ Prototype pollution in lodash\nSeverity: high" }), "vulnerable");
});
