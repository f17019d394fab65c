/** The double of S3 as a repository: filled from files, and brought into a folder, where everything is judged. */
import { FakeS3 } from "../fakes/s3.ts";
import { S3_SECRET } from "./program.ts";

const BELOW = "test-bucket/folder";

/** Starts a double that holds what lies below `bucket` in these files. */
export async function startS3(
  files: ReadonlyMap<string, Uint8Array>,
  options: Parameters<typeof FakeS3.start>[0] = {},
): Promise<FakeS3 & AsyncDisposable> {
  const fake = await FakeS3.start({ secretAccessKey: S3_SECRET, ...options });
  for (const [path, bytes] of files) {
    if (!path.startsWith("/bucket/") || path.endsWith("/.couchdb-backup")) continue;
    const key = `${BELOW}/${path.slice("/bucket/".length)}`;
    const etag = `"${key.length}-${bytes.length}"`;
    fake.objects.set(key, { bytes, etag, checksum: undefined, headers: {}, modified: new Date() });
  }
  return Object.assign(fake, { [Symbol.asyncDispose]: () => fake.close() });
}

/** Writes all objects into `folder`, below `bucket`. */
export async function copyInto(folder: string, { objects }: FakeS3): Promise<void> {
  await Deno.remove(`${folder}/bucket`, { recursive: true }).catch(() => {});
  for (const [key, { bytes }] of objects) {
    // In S3 no slash is part of a name, and an encoded one stays so.
    const path = `${folder}/bucket/${key.slice(BELOW.length + 1)}`;
    await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    await Deno.writeFile(path, bytes);
  }
}
