/**
 * What of a manifest names people's data: sealed when it is stored, left out where it cannot be opened, and never half.
 */
import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { generateIdentity, identityToRecipient } from "age-encryption";
import type { Manifest } from "../../src/archive/manifest.ts";
import { encodeCheckpoint, encodeJson, parseManifest } from "../../src/archive/manifest_json.ts";
import { hashOfId, openContent, sealed, sealedLookup } from "../../src/archive/sealed.ts";
import { discreetLog } from "../../src/observe/discreet_log.ts";
import { ArchiveError } from "../../src/errors.ts";
import { partsOf, textWithChecksum } from "../edited_manifest.ts";
import { RecordedLog } from "../fakes/log.ts";
import { manifestOf } from "./repository_setup.ts";

const [ours, theirs] = await Promise.all([generateIdentity(), generateIdentity()]);
const recipients = [await identityToRecipient(ours)];
const SECURITY = '{"admins":{"names":["doctor.strange"]}}';
const UNREADABLE = [
  { id: "patient-4711", error: "internal_error", reason: "badmatch" },
  { id: "patient-4712", rev: "3-abc", error: "missing_revision", reason: "Listed, and in no answer" },
];

function plain(): Manifest {
  const manifest = manifestOf({ day: "2026-01-03", finishedAt: "2026-01-03T18:10:00Z" });
  const counts = { documents: 1, leaf_revisions: 1, deleted: 0, absent: 0, bytes: 9, compressed_bytes: 300 };
  return {
    ...manifest,
    chunks: [{ name: "0000000.json.gz.age", ...counts, sha256: "0".repeat(64) }],
    totals: { ...counts, chunks: 1 },
    recipients,
    unreadable: UNREADABLE,
    properties: { ...manifest.properties, security: SECURITY },
  };
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

Deno.test("encodeJson() stores no name of what is sealed, and parseManifest() counts what it cannot name", async () => {
  const value = await sealed(plain());
  for (const text of [textOf(encodeJson(value)), textOf(encodeCheckpoint({ ...value, saved_at: "", listing: null }))]) {
    for (const secret of ["patient", "doctor", "badmatch", "3-abc", "missing_revision"]) {
      assert(!text.includes(secret), secret);
    }
    const { properties, unreadable } = JSON.parse(text);
    assertEquals(["security" in properties, unreadable], [false, undefined]);
  }
  const read = parseManifest(encodeJson(value), "k");
  assertEquals(read.properties.security, null);
  assertEquals(read.unreadable.map(({ error, rev }) => [error, rev]), [["sealed", undefined], ["sealed", "sealed"]]);
  assertEquals(partsOf(encodeJson(read)), partsOf(encodeJson(value)), "it can be stored again as it is");
  const options = { recipients, key: "k" };
  const { security, unreadable } = await openContent(read.sealed!, { ...options, identities: [theirs, ours] });
  assertEquals([security, unreadable], [SECURITY, UNREADABLE]);
  const error = await assertRejects(
    () => openContent(read.sealed!, { ...options, identities: [theirs] }),
    ArchiveError,
  );
  assertEquals([error.exitCode, error.message.includes(recipients[0]!)], [12, true], error.message);
});

Deno.test("encodeJson() refuses to store what has recipients and is not sealed, whole or a chunk of it", async () => {
  assertThrows(() => encodeJson(plain()), Error, "half sealed");
  const value = await sealed(plain());
  const { recipients: _, ...nobody } = value;
  assertThrows(() => encodeJson(nobody), Error, "half sealed");
  const chunks = value.chunks.map((chunk) => ({ ...chunk, name: chunk.name.replace(/\.age$/, "") }));
  assert(chunks.length > 0);
  assertThrows(() => encodeJson({ ...value, chunks }), Error, "not sealed as it is itself");
  const manifest = manifestOf({ day: "2026-01-03", finishedAt: "2026-01-03T18:10:00Z" });
  assertThrows(() => encodeJson({ ...manifest, chunks: value.chunks }), Error, "not sealed as it is itself");
});

Deno.test("parseManifest() refuses what is half sealed, and what is sealed to nobody", async () => {
  const stored = partsOf(encodeJson(await sealed(plain())));
  const parse = (value: object) => parseManifest(textWithChecksum(value), "k");
  const { recipients: _, ...nobody } = stored;
  const { sealed: __, ...open } = stored;
  const chunks = [{ ...stored.chunks[0], name: "0000000.json.gz" }, ...stored.chunks.slice(1)];
  const cases: [value: object, message: RegExp][] = [
    [nobody, /"recipients" is not as a manifest has it/],
    [open, /"(properties.security|unreadable)" is not as a manifest has it/],
    [{ ...open, unreadable: [], properties: { ...stored.properties, security: null } }, /"sealed" is not/],
    [{ ...stored, chunks }, /"chunks" is not/],
    [{ ...stored, recipients: [] }, /"recipients" is not/],
    [{ ...stored, sealed: { ...stored.sealed, age: "%" } }, /"sealed.age" is not/],
    [{ ...stored, sealed: { ...stored.sealed, unreadable: [null] } }, /"sealed.unreadable.0" is not/],
    [{ ...stored, sealed: null }, /"sealed" is not/],
  ];
  for (const [value, message] of cases) {
    assertMatch(assertThrows(() => parse(value), ArchiveError).message, message);
  }
});

Deno.test("sealedLookup() finds an id again by its hash, of which two backups have nothing in common", async () => {
  const [one, two] = [(await sealed(plain())).sealed!, (await sealed(plain())).sealed!];
  const look = sealedLookup(one);
  assertEquals([look("patient-4711")?.part, look("patient-4712")?.part, look("patient-4713")], [
    undefined,
    true,
    undefined,
  ]);
  assert(one.unreadable[0]!.id !== two.unreadable[0]!.id);
  assertMatch(hashOfId("a", one.salt), /^[\w-]{22}$/);
});

Deno.test("discreetLog() says that there was a document, and not which, and leaves all other lines as they are", () => {
  const log = new RecordedLog();
  const discreet = discreetLog(log).with({ database: "db" });
  discreet.warn("left out", {
    id: "patient",
    rev: "1-a",
    error: "badmatch",
    reason: "x",
    from: "1",
    onto: "2",
    chunk: 1,
  });
  discreet.info("built", { design: "_design/patients", view: "by_name", error: "x", durationMs: 5 });
  discreet.error("lost", { ids: ["patient"], documents: 1 });
  discreet.debug("left", { security: "{}" });
  discreet.info("full", { reason: "it was asked for" });
  discreet.info("done");
  assertEquals(log.lines.map(({ fields }) => fields), [
    { database: "db", chunk: 1 },
    { database: "db", durationMs: 5 },
    { database: "db", documents: 1 },
    { database: "db" },
    { database: "db", reason: "it was asked for" },
    { database: "db" },
  ]);
});
