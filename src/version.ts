/** What this program calls itself in manifests, log lines and requests. A test holds it equal to deno.json. Pure. */

export const PROGRAM_NAME = "couchdb-backup";
export const VERSION = "0.2.0";

/** The oldest Node that the npm package runs under. A test holds it equal to the package's. */
export const OLDEST_NODE = "22.2";

/** What is wrong with the runtime, by what it calls itself (`process.versions`); undefined where it will do. */
export function complaintOfNode({ node, deno }: { node: string; deno?: string }): string | undefined {
  const [major = 0, minor = 0] = node.split(".").map(Number);
  const [oldestMajor = 0, oldestMinor = 0] = OLDEST_NODE.split(".").map(Number);
  const isNewEnough = major > oldestMajor || (major === oldestMajor && minor >= oldestMinor);
  if (deno !== undefined || isNewEnough) return undefined;
  return `This is Node ${node}; it must be ${OLDEST_NODE} or later. The executable, deb and rpm need no Node`;
}
