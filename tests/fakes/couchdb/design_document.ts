/**
 * The part of design documents that a backup and a restore meet: whether their functions compile, and what their
 * `validate_doc_update` functions say of a document. The functions run in this process: only tests write them.
 */
import { Refusal } from "./answer.ts";

/** What CouchDB hands to a validation function beside the documents. */
export interface ValidationContext {
  database: string;
  user: string;
  /** The text of `_security`. */
  security: string;
}

type Validator = (newDocument: unknown, oldDocument: unknown, user: unknown, security: unknown) => unknown;

const BUILT_IN_REDUCES = new Set(["_sum", "_count", "_stats", "_approx_count_distinct"]);

/** @throws Refusal when CouchDB would not store the design document of this text. */
export function checkDesignDocument(text: string): void {
  const design = JSON.parse(text) as { language?: string; views?: Record<string, Record<string, unknown>> };
  if (!isJavaScript(design)) return;
  for (const [view, functions] of Object.entries(design.views ?? {})) {
    for (const kind of ["map", "reduce"]) {
      const source = functions[kind];
      if (source === undefined) continue;
      if (typeof source !== "string") {
        const reason = `\`views.${view}.${kind}\` field must have string type`;
        throw new Refusal(400, "invalid_design_doc", reason);
      }
      if (kind === "reduce" && source.startsWith("_")) {
        if (BUILT_IN_REDUCES.has(source)) continue;
        throw new Refusal(400, "invalid_design_doc", `\`${source}\` is not a supported reduce function.`);
      }
      const failure = compile(source);
      if (failure instanceof SyntaxError) {
        const reason = `Compilation of the ${kind} function in the '${view}' view failed: ${failure} (${source})`;
        throw new Refusal(400, "compilation_error", reason);
      }
    }
  }
}

/** Whether the design document of this text has a view of this name. */
export function hasView(text: string, view: string): boolean {
  const design = JSON.parse(text) as { views?: Record<string, unknown> };
  return Object.hasOwn(design.views ?? {}, view);
}

/** Whether the views of the design document of this text are asked one partition at a time, where its database has any. */
export function isByPartition(text: string): boolean {
  return (JSON.parse(text) as { options?: { partitioned?: boolean } }).options?.partitioned !== false;
}

/** Whether the view has no reduce function, so that its answer counts rows. */
export function isMapOnly(text: string, view: string): boolean {
  const design = JSON.parse(text) as { views?: Record<string, { reduce?: unknown }> };
  return design.views?.[view]?.reduce === undefined;
}

/** The source of the validation function in the design document of this text, if it has one that runs. */
export function validatorSource(text: string): string | undefined {
  const design = JSON.parse(text) as { language?: string; validate_doc_update?: unknown };
  return isJavaScript(design) && typeof design.validate_doc_update === "string"
    ? design.validate_doc_update
    : undefined;
}

/** What the validation functions object to in a document, undefined when they let it pass. */
export function objectionTo(
  newText: string,
  { oldText, sources, context }: {
    oldText: string | undefined;
    sources: readonly string[];
    context: ValidationContext;
  },
): Refusal | undefined {
  for (const source of sources) {
    const validator = compile(source);
    if (validator instanceof SyntaxError) return new Refusal(500, "compilation_error", `${validator} (${source})`);
    try {
      const user = { db: context.database, name: context.user, roles: ["_admin"] };
      validator(
        JSON.parse(newText),
        oldText === undefined ? null : JSON.parse(oldText),
        user,
        JSON.parse(context.security),
      );
    } catch (thrown) {
      return refusalOf(thrown);
    }
  }
  return undefined;
}

function compile(source: string): Validator | SyntaxError {
  try {
    return new Function(`return (${source})`)() as Validator;
  } catch (error) {
    return error instanceof SyntaxError ? error : new SyntaxError(String(error));
  }
}

/**
 * A function refuses by throwing `{forbidden: reason}` or `{unauthorized: reason}`; anything else is its own defect.
 */
function refusalOf(thrown: unknown): Refusal {
  if (thrown instanceof Error) return new Refusal(500, thrown.name, "{[]}");
  const { forbidden, unauthorized } = thrown as { forbidden?: unknown; unauthorized?: unknown };
  if (forbidden !== undefined) return new Refusal(403, "forbidden", String(forbidden));
  if (unauthorized !== undefined) return new Refusal(401, "unauthorized", String(unauthorized));
  return new Refusal(500, "unknown_error", JSON.stringify(thrown));
}

function isJavaScript({ language }: { language?: string }): boolean {
  return language === undefined || language === "javascript";
}
