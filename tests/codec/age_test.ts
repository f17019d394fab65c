/** Sealing by age: against the format's own vectors, against itself, and against whoever changes what lies there. */
import { assert, assertEquals, assertGreater, assertInstanceOf, assertRejects, assertStrictEquals } from "@std/assert";
import * as vectors from "cctv-age";
import { generateIdentity, identityToRecipient } from "age-encryption";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { inflateSync } from "node:zlib";
import { isAge, seal, unseal } from "../../src/codec/age.ts";
import { AgeError, parseIdentities, recipientOf, sealHeader } from "../../src/codec/age_header.ts";
import { join, pieces } from "./streams.ts";

function numbered(sizeBytes: number): Uint8Array {
  return Uint8Array.from({ length: sizeBytes }, (_, at) => (at >>> 8) ^ at);
}

const identity = await generateIdentity();
const recipient = await identityToRecipient(identity);
const BLOCK = 64 * 1024;
/** What a block takes up, sealed. */
const SEALED_BLOCK = BLOCK + 16;

/** Where the blocks begin: behind the header and the nonce. */
function payloadAt(sealed: Uint8Array): number {
  return Buffer.from(sealed).indexOf("\n", Buffer.from(sealed).indexOf("\n---") + 1) + 17;
}

/** A vector: lines of what is to be expected, an empty one, the file. */
function parseVector(bytes: Uint8Array) {
  const end = Buffer.from(bytes).indexOf("\n\n");
  const lines = Buffer.from(bytes.subarray(0, end)).toString().split("\n").map((line) => line.split(": "));
  const all = (name: string) => lines.flatMap(([key, ...rest]) => key === name ? rest.join(": ") : []);
  const file = bytes.subarray(end + 2);
  return {
    expect: all("expect")[0]!,
    payload: all("payload")[0],
    identities: all("identity"),
    // By a passphrase, or as text: not for what nobody sits before.
    isForeign: all("passphrase").length > 0 || all("armored").length > 0,
    file: all("compressed").length > 0 ? new Uint8Array(inflateSync(file)) : file,
  };
}

Deno.test("unseal() comes to what each of the format's vectors says, and refuses passphrases and armour", async () => {
  const outcomes: Record<string, number> = {};
  for (const [name, bytes] of Object.entries(vectors as unknown as Record<string, Uint8Array>)) {
    if (!(bytes instanceof Uint8Array)) continue;
    const { expect, payload, identities, isForeign, file } = parseVector(bytes);
    const shouldOpen = expect === "success" && !isForeign;
    for (const sizeBytes of [999, 1 << 20]) {
      const result = await join(unseal(pieces(file, sizeBytes), identities)).catch((error) => error);
      if (!shouldOpen) assertInstanceOf(result, AgeError, `${name}: ${result}`);
      else assertEquals(createHash("sha256").update(result).digest("hex"), payload, `${name}: ${result}`);
    }
    outcomes[shouldOpen ? "opened" : "refused"] = (outcomes[shouldOpen ? "opened" : "refused"] ?? 0) + 1;
  }
  assertGreater(outcomes.opened!, 15);
  assertGreater(outcomes.refused!, 100);
});

Deno.test("unseal() gives back what seal() has sealed, of every size around a block, to each of several recipients", async () => {
  const others = await Promise.all([1, 2].map(generateIdentity));
  const recipients = [recipient, ...await Promise.all(others.map(identityToRecipient))];
  for (const sizeBytes of [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 300_000]) {
    const bytes = numbered(sizeBytes);
    const sealed = await join(seal(pieces(bytes, 10_000), recipients));
    assert(isAge(sealed) && !isAge(sealed.subarray(0, 10)));
    for (const one of [identity, ...others]) {
      assertEquals(await join(unseal(pieces(sealed, 777), [one])), bytes, `${sizeBytes} bytes`);
    }
  }
});

Deno.test("seal() has used the bytes when it asks for the next ones, and two sealings have nothing in common", async () => {
  const bytes = numbered(200_000);
  const oneBuffer = (async function* () {
    const buffer = new Uint8Array(30_000);
    for await (const piece of pieces(bytes, buffer.length)) {
      buffer.set(piece);
      yield buffer.subarray(0, piece.length);
      buffer.fill(0);
    }
  })();
  const sealed = await join(seal(oneBuffer, [recipient]));
  assertEquals(await join(unseal(pieces(sealed, 5000), [identity])), bytes);
  const again = await join(seal(pieces(bytes, 5000), [recipient]));
  const from = payloadAt(sealed);
  assert(!Buffer.from(again).includes(Buffer.from(sealed.subarray(from, from + 32))));
});

Deno.test("unseal() refuses a bit that flips anywhere, and gives out nothing of the block that it is in", async () => {
  const bytes = numbered(3 * BLOCK + 100);
  const sealed = await join(seal(pieces(bytes, 10_000), [recipient]));
  const from = payloadAt(sealed);
  for (let at = 0; at < sealed.length; at += at < from + 20 ? 1 : 7919) {
    const changed = Uint8Array.from(sealed);
    changed[at]! ^= 1 << at % 8;
    const got: Uint8Array[] = [];
    await assertRejects(
      async () => {
        for await (const piece of unseal(pieces(changed, 4096), [identity])) got.push(piece);
      },
      AgeError,
      undefined,
      `byte ${at}`,
    );
    const whole = Math.max(0, Math.floor((at - from) / SEALED_BLOCK)) * BLOCK;
    assertEquals(Buffer.concat(got).length <= whole, true, `byte ${at}`);
    assertEquals(new Uint8Array(Buffer.concat(got)), bytes.subarray(0, Buffer.concat(got).length));
  }
});

Deno.test("unseal() refuses what is cut off, at a block too, what was added, and blocks that changed places", async () => {
  const sealed = await join(seal(pieces(numbered(3 * BLOCK + 100), 10_000), [recipient]));
  const from = payloadAt(sealed);
  const block = (number: number) => sealed.subarray(from + number * SEALED_BLOCK, from + (number + 1) * SEALED_BLOCK);
  const head = sealed.subarray(0, from);
  const cases: Record<string, Uint8Array[]> = {
    "cut within a block": [sealed.subarray(0, -1)],
    "cut at a block": [head, block(0), block(1)],
    "nothing behind the header": [head],
    "cut within the header": [sealed.subarray(0, 60)],
    "swapped": [head, block(1), block(0), block(2), block(3)],
    "left out": [head, block(0), block(2), block(3)],
    "repeated": [head, block(0), block(0), block(1), block(2), block(3)],
    "something behind it": [sealed, new Uint8Array(40)],
    "another one behind it": [sealed, sealed],
  };
  for (const [name, parts] of Object.entries(cases)) {
    await assertRejects(() => join(unseal(pieces(Buffer.concat(parts), 9999), [identity])), AgeError, undefined, name);
  }
});

Deno.test("unseal() says when none of the identities opens it, and asks for no more than the header", async () => {
  const sealed = await join(seal(pieces(numbered(300_000), 10_000), [recipient]));
  let asked = 0;
  const counted = (async function* () {
    for await (const piece of pieces(sealed, 1000)) {
      asked++;
      yield piece;
    }
  })();
  await assertRejects(
    async () => await join(unseal(counted, [await generateIdentity()])),
    AgeError,
    "None of the identities opens it",
  );
  assertEquals(asked, 1);
  await assertRejects(() => join(unseal(pieces(sealed, 1000), [])), AgeError);
});

Deno.test("unseal() tries no more recipients than any header needs: each costs time, for each object", async () => {
  const share = () => Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64").replace(/=+$/, "");
  const stanza = () => `-> X25519 ${share()}\n${share()}\n`;
  /** A file that somebody has sealed to many others. */
  const fileTo = (recipients: number) => {
    const stanzas = Array.from({ length: recipients }, stanza).join("");
    return Buffer.from(`age-encryption.org/v1\n${stanzas}--- ${share()}\n${"x".repeat(100)}`);
  };
  const open = (file: Uint8Array) => join(unseal(pieces(file, 4096), [identity]));
  await assertRejects(() => open(fileTo(256)), AgeError, "None of the identities opens it");
  const many = fileTo(2500);
  await assertRejects(() => open(many), AgeError, "Its header names 2500 recipients, more than 256");
  await assertRejects(() => open(fileTo(9000)), AgeError, "Its header does not end");
  const recipients = await Promise.all(Array.from({ length: 50 }, () => generateIdentity().then(identityToRecipient)));
  const sealed = await join(seal(pieces(numbered(100), 10), [...recipients, recipient]));
  assertEquals(await join(unseal(pieces(sealed, 4096), [identity])), numbered(100));
});

Deno.test("seal() to nobody fails, before anything is asked of its source", async () => {
  await assertRejects(() => sealHeader([]), TypeError);
  const source = (async function* () {
    await Promise.resolve();
    yield assert(false, "it must not be asked") as unknown as Uint8Array;
  })();
  await assertRejects(() => join(seal(source, [])), TypeError);
});

Deno.test("seal() and unseal() hand on the very error of their source, and end it when the reader leaves early", async () => {
  const bytes = numbered(300_000);
  const sealed = await join(seal(pieces(bytes, 10_000), [recipient]));
  const failure = new Error("S3 is gone");
  const failing = (bytes: Uint8Array) =>
    (async function* () {
      yield* pieces(bytes, 5000);
      throw failure;
    })();
  assertStrictEquals(await assertRejects(() => join(seal(failing(bytes), [recipient]))), failure);
  assertStrictEquals(
    await assertRejects(() => join(unseal(failing(sealed.subarray(0, 200_000)), [identity]))),
    failure,
  );
  for (const way of ["seal", "unseal"] as const) {
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    const watched = (async function* () {
      try {
        yield* pieces(way === "seal" ? bytes : sealed, 5000);
      } finally {
        resolve();
      }
    })();
    const read = way === "seal" ? seal(watched, [recipient]) : unseal(watched, [identity]);
    let pieceCount = 0;
    for await (const piece of read) if (piece.length > 0 && ++pieceCount === 2) break;
    await ended;
  }
});

Deno.test("parseIdentities() reads what age-keygen writes, and names the line that is something else without quoting it", async () => {
  const text = `# created: 2026-11-28T02:00:00Z\r\n# public key: ${recipient}\r\n\r\n${identity}\r\n`;
  assertEquals(await parseIdentities(text), [identity]);
  assertEquals(await recipientOf(identity), recipient);
  for (
    const [wrong, message] of [
      ["", "no identity in it"],
      ["# only a comment\n", "no identity in it"],
      [`\n${recipient}\n`, "Line 2 is a public key, which opens nothing"],
      ["-----BEGIN OPENSSH PRIVATE KEY-----\n", "Line 1 begins a key of another kind"],
      ["AGE-PLUGIN-YUBIKEY-1QQQ\n", "Line 1 is an identity of a plugin"],
      ["age-encryption.org/v1\n-> scrypt …\n", "It is itself encrypted"],
      [`"${identity}"\n`, "Line 1 is no identity"],
      [`${identity.slice(0, -1)}\n`, "Line 1 is no identity"],
      [`${identity}\nhunter2\n`, "Line 2 is no identity"],
    ] as const
  ) {
    const error = await assertRejects(() => parseIdentities(wrong), AgeError, message);
    assert(!(error as Error).message.includes("hunter2") && !(error as Error).message.includes(identity.slice(20, 40)));
  }
});
