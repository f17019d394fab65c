/**
 * The documents of the npm package: those of the checkout that its users need, with links that lead somewhere. In: a
 * document and its place in the package. Out: its text there.
 */
import { dirname, join, relative } from "node:path";

/** Where a document comes from, by where it goes: paths from the checkout's and the package's root. */
export const DOCUMENTS: Readonly<Record<string, string>> = {
  "README.md": "docs/npm.md",
  "CHANGELOG.md": "CHANGELOG.md",
  "LICENSE": "LICENSE",
  "config.sample.yaml": "config.sample.yaml",
  "docs/archive.md": "docs/archive.md",
  "docs/configuration.md": "docs/configuration.md",
  "docs/monitoring.md": "docs/monitoring.md",
  "docs/restore.md": "docs/restore.md",
  "docs/schedules.md": "docs/schedules.md",
  "docs/server.md": "docs/server.md",
  "docs/tls-and-proxies.md": "docs/tls-and-proxies.md",
  "monitoring/alerts.yaml": "monitoring/alerts.yaml",
  "monitoring/dashboard.json": "monitoring/dashboard.json",
};

/**
 * Turns the links of the document at `place` to where their targets are in the package; others become plain text. A
 * mark that keeps `deno test --doc` from running an example goes.
 */
export function relink(text: string, place: string): string {
  const source = DOCUMENTS[place] ?? place;
  const plain = text.replaceAll("```ts ignore\n", "```ts\n");
  return plain.replaceAll(/(!?)\[([^\]]+)\]\(([^)#\s]+)(#[^)\s]*)?\)/g, (link, image, label, target, anchor = "") => {
    if (/^[a-z]+:/.test(target)) return link;
    const meant = join(dirname(source), target);
    const [there] = Object.entries(DOCUMENTS).find(([, from]) => from === meant) ?? [];
    if (there === undefined) return image === "" ? label : "";
    return `[${label}](${relative(dirname(place), there)}${anchor})`;
  });
}
