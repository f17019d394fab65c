/**
 * What an S3-compatible server refuses in write requests, learned from its answers: conditions (`If-None-Match`,
 * 501) and checksums (`x-amz-checksum-sha256`, 400 or 501). In: an attempt in a form. Out: its result in the fullest
 * form that the server accepts.
 */
import { StoreError } from "../../errors.ts";
import { type Log, SILENT_LOG } from "../../observe.ts";

/** How a request that writes is put. */
export interface Form {
  /** With `If-None-Match: *`; without it the key has to be looked at before. */
  conditions: boolean;
  /** With `x-amz-checksum-sha256`; without it with `Content-MD5`, which is older and known everywhere. */
  checksums: boolean;
}

/** What a server says to a header that it does not know. Backblaze B2 says InvalidArgument. */
const REFUSES_HEADER = new Set(["InvalidArgument", "InvalidRequest", "NotImplemented"]);

/** The forms that one server takes. */
export class Dialect {
  readonly #log: Log;
  readonly #url: string;
  #form: Form = { conditions: true, checksums: true };

  constructor({ url, log = SILENT_LOG }: { url: string; log?: Log | undefined }) {
    this.#url = url;
    this.#log = log;
  }

  /** The fullest form that has not been refused. */
  get form(): Form {
    return this.#form;
  }

  /**
   * Runs `send` in the fullest form; where the server refuses that, in simpler ones. What then succeeds is kept to.
   *
   * @param needs What has to stay: a request without a condition of its own has none to drop, and where the store is
   * known to hold conditions a refusal must not lead to writing without.
   * @throws What the server refused last as not implemented, else its first refusal, where no simpler form is taken
   * either.
   */
  async attempt<T>(send: (form: Form) => Promise<T>, needs: { conditions: boolean }): Promise<T> {
    const fullest = this.#form;
    try {
      return await send(fullest);
    } catch (error) {
      if (!isRefusedForm(error)) throw error;
      let refusal = error;
      for (const form of simplerForms(fullest)) {
        // Only what is not implemented at all is done without: a condition keeps backups from being overwritten.
        if (!form.conditions && (needs.conditions || !isNotImplemented(refusal)) && fullest.conditions) continue;
        try {
          const result = await send(form);
          this.#keepTo(form);
          return result;
        } catch (error) {
          if (!isRefusedForm(error)) throw error;
          if (isNotImplemented(error)) refusal = error;
        }
      }
      throw refusal;
    }
  }

  /** Notes that the server refuses conditions. */
  dropConditions(): void {
    this.#keepTo({ ...this.#form, conditions: false });
  }

  #keepTo(form: Form): void {
    const before = this.#form;
    this.#form = { conditions: before.conditions && form.conditions, checksums: before.checksums && form.checksums };
    if (before.conditions && !form.conditions) {
      this.#log.warn("store refuses conditions (If-None-Match): each key is checked before it is written", {
        store: this.#url,
      });
    }
    if (before.checksums && !form.checksums) {
      this.#log.warn("store refuses SHA-256 checksums (x-amz-checksum-sha256): Content-MD5 is sent instead", {
        store: this.#url,
      });
    }
  }
}

/** Whether an answer says that something of the request is not implemented; Alibaba's OSS says so under status 400. */
export function isNotImplemented(error: unknown): boolean {
  return error instanceof StoreError && (error.facts.status === 501 || error.facts.code === "NotImplemented");
}

/** Whether an answer may be one to a header, and not to what is asked for. */
function isRefusedForm(error: unknown): boolean {
  if (!(error instanceof StoreError)) return false;
  return isNotImplemented(error) || (error.facts.status === 400 && REFUSES_HEADER.has(error.facts.code));
}

/** First what gives up least. */
function simplerForms({ conditions, checksums }: Form): Form[] {
  const forms: Form[] = [
    { conditions, checksums: false },
    { conditions: false, checksums },
    { conditions: false, checksums: false },
  ];
  return forms.filter((form, index) =>
    (form.conditions !== conditions || form.checksums !== checksums) &&
    forms.findIndex((other) => other.conditions === form.conditions && other.checksums === form.checksums) === index
  );
}
