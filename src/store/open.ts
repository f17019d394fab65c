/**
 * Opens the store that a config's `bucket` names, or what deletes in it. Each kind of store is loaded only when it is
 * the one that is asked for.
 */
import { fileURLToPath } from "node:url";
import { StoreError } from "../errors.ts";
import type { Remover } from "./remover.ts";
import type { Store, StoreContext, StoreOptions } from "./store.ts";

/**
 * Opens the store at `options.bucket`: `s3://name/folder` or `file:///path`. Nothing is read or written yet.
 *
 * @throws StoreError with code `bad_bucket` or `bad_endpoint`, or AwsError with code `no_credentials`, when the options
 * cannot name a store.
 */
export async function openStore(options: StoreOptions, context: StoreContext = {}): Promise<Store> {
  switch (schemeOf(options.bucket)) {
    case "file": {
      const { DirectoryStore } = await import("./directory/store.ts");
      return new DirectoryStore(pathOf(options.bucket), { ...context, stateFolder: options.stateFolder });
    }
    case "s3": {
      const { S3Store } = await import("./s3/store.ts");
      return new S3Store(options, {}, context);
    }
  }
}

/**
 * Opens what deletes objects in the store at `options.bucket`; the right to is only needed once it does. @throws As
 * openStore() does.
 */
export async function openRemover(
  options: StoreOptions,
  context: Pick<StoreContext, "fetch"> = {},
): Promise<Remover> {
  switch (schemeOf(options.bucket)) {
    case "file": {
      const { DirectoryRemover } = await import("./directory/remover.ts");
      return new DirectoryRemover(pathOf(options.bucket), { stateFolder: options.stateFolder });
    }
    case "s3": {
      const { S3Remover } = await import("./s3/remover.ts");
      return new S3Remover(options, {}, context);
    }
  }
}

function schemeOf(bucket: string): "file" | "s3" {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(bucket)?.[1]?.toLowerCase();
  if (scheme === "file" || scheme === "s3") return scheme;
  throw new StoreError(
    `Cannot open the bucket "${withoutUserInfo(bucket)}": it is neither "s3://name/folder" nor "file:///path"`,
    { code: "bad_bucket" },
    {
      hint: scheme === undefined
        ? "Write a folder as file:///path, with three slashes"
        : 'An S3-compatible server is given as "endpoint", beside bucket: s3://name/folder',
    },
  );
}

function pathOf(bucket: string): string {
  try {
    const path = fileURLToPath(bucket);
    return path.length > 1 ? path.replace(/\/+$/, "") : path;
  } catch (cause) {
    throw new StoreError(`Cannot open the bucket "${bucket}": it is not a URL of a local folder`, {
      code: "bad_bucket",
    }, { cause, hint: "Write it as file:///path, with three slashes; a % in the path is written %25" });
  }
}

/** A URL for a message: what stands before an `@` may be a password. */
function withoutUserInfo(url: string): string {
  return url.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/@]*@/i, "$1");
}
