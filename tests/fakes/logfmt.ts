/** A reader of logfmt, strict enough to notice a value that breaks out of its field. */

/** Reads logfmt as Loki's parser and Go's logfmt do: bare or quoted values, JSON's escapes. */
export function readLogfmt(line: string): Record<string, string> {
  const fields: Record<string, string> = {};
  const pattern = /([^\s="]+)=("(?:[^"\\]|\\.)*"|[^\s"]*)(?:\s|$)/gy;
  while (pattern.lastIndex < line.length) {
    const at = pattern.lastIndex;
    const match = pattern.exec(line);
    if (match === null) throw new Error(`not logfmt at ${at}: ${line}`);
    const [, key = "", value = ""] = match;
    fields[key] = value.startsWith('"') ? JSON.parse(value) : value;
  }
  return fields;
}
