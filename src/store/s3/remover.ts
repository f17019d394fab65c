/**
 * Deletes objects of an S3 bucket, a request each: not every server that speaks S3 takes a list of keys, and AWS counts
 * these requests as free.
 */
import { isNotFound } from "../../errors.ts";
import { checkKey } from "../key.ts";
import type { RemoveOptions, Remover } from "../remover.ts";
import type { StoreCallOptions, StoreContext, StoreOptions } from "../store.ts";
import { S3Client } from "./client.ts";
import type { S3Settings } from "./request.ts";
import { holdOf } from "./hold.ts";
import { targetOf } from "./target.ts";

/** Deletes objects below one bucket folder. */
export class S3Remover implements Remover {
  readonly #client: S3Client;

  /** @throws StoreError with code `bad_bucket` or `bad_endpoint`; AwsError with code `no_credentials`. */
  constructor(
    options: StoreOptions,
    settings: Partial<S3Settings> = {},
    context: Pick<StoreContext, "fetch"> = {},
  ) {
    this.#client = new S3Client(targetOf(options, context), settings);
  }

  async findHold(key: string, { signal }: StoreCallOptions = {}): Promise<string | undefined> {
    const headers = await this.#client.head(checkKey(key), signal);
    return headers === undefined ? undefined : holdOf(headers);
  }

  async remove(key: string, { signal, again }: RemoveOptions = {}): Promise<void> {
    const request = { method: "DELETE", action: "delete", right: "s3:DeleteObject", key: checkKey(key) } as const;
    try {
      await this.#client.send(request, signal, again);
    } catch (error) {
      // Other servers than AWS's answer so for what is gone already.
      if (!isNotFound(error)) throw error;
    }
  }
}
