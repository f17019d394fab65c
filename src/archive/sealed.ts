/**
 * The part of a manifest, checkpoint or report that names people's data, sealed as chunks are: written with only the
 * public keys, read with an identity. In: a plain value and recipients, or a sealed one and identities. Out:
 * the other.
 */
import { Buffer } from "node:buffer";
import { createHash, randomBytes } from "node:crypto";
import * as z from "zod";
import { seal, unseal } from "../codec/age.ts";
import { CodecError } from "../codec/error.ts";
import type { UnreadableDocument } from "../couchdb/couchdb.ts";
import { ArchiveError } from "../errors.ts";
import type { Checkpoint, Manifest, SealedDocument, SealedPart } from "./manifest.ts";

/** How many characters of a SHA-256 in base64url stand for an id: 132 bits. */
const HASH_CHARACTERS = 22;

const contentSchema = z.object({
  security: z.string().nullable(),
  unreadable: z.array(
    z.object({ id: z.string(), rev: z.string().optional(), error: z.string(), reason: z.string() }),
  ),
  lost: z.array(z.string()).optional(),
});

/** What is sealed of a manifest or checkpoint. */
export interface SealedContent {
  /** As in the manifest's `properties`. */
  security: string | null;
  unreadable: UnreadableDocument[];
  /** In a report, and in the manifest of a full backup: the ids of documents that the chain before has lost. */
  lost?: string[] | undefined;
}

/**
 * The same manifest or checkpoint, so that it may be stored: sealed where it has recipients. What is sealed already was
 * taken over from an earlier one.
 */
export async function sealed<T extends Manifest | Checkpoint>(value: T): Promise<T> {
  const { recipients, properties: { security }, unreadable } = value;
  if (recipients === undefined || value.sealed !== undefined) return value;
  const lost = "chain_lost" in value ? value.chain_lost?.ids : undefined;
  return { ...value, sealed: await sealContent({ security, unreadable, lost }, recipients) };
}

/** Seals what names people's data. */
export async function sealContent(content: SealedContent, recipients: readonly string[]): Promise<SealedPart> {
  const salt = randomBytes(12).toString("base64url");
  const plain = new TextEncoder().encode(JSON.stringify(content));
  const pieces = await Array.fromAsync(seal(once(plain), recipients));
  return {
    age: Buffer.concat(pieces).toString("base64"),
    salt,
    unreadable: content.unreadable.map(({ id, rev }) => ({
      id: hashOfId(id, salt),
      ...rev === undefined ? {} : { part: true as const },
    })),
  };
}

/** What stands for an id in a {@linkcode SealedPart}. */
export function hashOfId(id: string, salt: string): string {
  return createHash("sha256").update(`${salt}\0${id}`).digest("base64url").slice(0, HASH_CHARACTERS);
}

/**
 * Opens what {@linkcode sealContent} has sealed.
 *
 * @param key Where it lies, for the error.
 * @throws ArchiveError when none of the identities opens it, or it was changed.
 */
export async function openContent(
  part: SealedPart,
  { identities, recipients, key }: {
    identities: readonly string[];
    recipients: readonly string[];
    key: string;
  },
): Promise<SealedContent> {
  try {
    const pieces = await Array.fromAsync(unseal(once(Buffer.from(part.age, "base64")), identities));
    return contentSchema.parse(JSON.parse(new TextDecoder().decode(Buffer.concat(pieces)))) as SealedContent;
  } catch (error) {
    if (!(error instanceof CodecError || error instanceof SyntaxError || error instanceof z.ZodError)) throw error;
    const found = error instanceof CodecError ? error.message : "What is sealed in it is none of a manifest";
    throw new ArchiveError(
      `Cannot open "${key}", which is sealed to ${recipients.join(", ")}: ${found}`,
      { key, expected: "an identity of one of the recipients", found },
      {
        cause: error,
        hint: "Give the identity of one of these public keys: age-keygen -y FILE prints the public key of a file",
      },
    );
  }
}

/** Which of some sealed documents an id is; undefined where it is none of them. */
export function sealedLookup(
  { salt, unreadable }: Pick<SealedPart, "salt" | "unreadable">,
): (id: string) => SealedDocument | undefined {
  const byHash = new Map(unreadable.map((document) => [document.id, document]));
  return (id) => byHash.get(hashOfId(id, salt));
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(bytes);
}
