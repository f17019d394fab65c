import { assert, assertEquals, assertMatch } from "@std/assert";
import { generateHybridIdentity, generateIdentity, identityToRecipient } from "age-encryption";
import { explainRecipient, isSecretKey } from "../../src/codec/recipient.ts";

const identity = await generateIdentity();
const recipient = await identityToRecipient(identity);

Deno.test("explainRecipient() knows a public key of age, and says of anything else what it is, without quoting it", async () => {
  assertEquals(explainRecipient(recipient), undefined);
  const last = recipient.at(-1) === "q" ? "p" : "q";
  const cases: [wrong: string, reason: RegExp][] = [
    [identity, /^is a secret key, which opens backups/],
    [identity.toLowerCase(), /^is a secret key/],
    [` ${identity}`, /^is a secret key/],
    ["AGE-PLUGIN-YUBIKEY-1QQQ", /^is a secret key/],
    ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHunter2 me@there", /^is a key of ssh/],
    [await identityToRecipient(await generateHybridIdentity()), /^is a post-quantum key/],
    ["age1yubikey1qwerty", /^is a key of a plugin/],
    ["hunter2", /^is no public key; passphrases are not taken/],
    ["", /^is no public key/],
    [`${recipient} `, /^has a blank or a line break/],
    [`\t${recipient}`, /^has a blank or a line break/],
    [`${recipient}\r`, /^has a blank or a line break/],
    [`${recipient}\n`, /^has a blank or a line break/],
    [`${recipient.slice(0, 20)} ${recipient.slice(20)}`, /^is no public key/],
    [recipient.toUpperCase(), /^is written with capital letters/],
    [`A${recipient.slice(1)}`, /^is written with capital letters/],
    ["age1", /^is no public key/],
    [`${recipient.slice(0, -1)}${last}`, /^is no whole key/],
    [recipient.slice(0, -1), /^is no whole key/],
    [`${recipient}q`, /^is no whole key/],
    ["age1qqqqqqqqqq", /^is no whole key/],
  ];
  for (const [wrong, reason] of cases) {
    const found = explainRecipient(wrong) ?? "";
    assertMatch(found, reason, wrong);
    assert(wrong.length < 5 || !found.includes(wrong), wrong);
  }
});

Deno.test("isSecretKey() finds one that stands in something else, too", () => {
  assertEquals([identity, `x ${identity}`, recipient, "key.txt"].map(isSecretKey), [true, true, false, false]);
});
