/** The project's own files, for tests that look into them. */

const ROOT = new URL("..", import.meta.url).pathname;

/**
 * Every file below the folders whose name ends in `ending`, with its text; paths from the project's root, in their
 * order.
 */
export async function walk(
  folders: readonly string[],
  ending: string = ".ts",
): Promise<{ path: string; text: string }[]> {
  const files: { path: string; text: string }[] = [];
  const open = async (folder: string) => {
    for await (const { name, isDirectory } of Deno.readDir(ROOT + folder)) {
      const path = `${folder}/${name}`;
      if (isDirectory) await open(path);
      else if (name.endsWith(ending)) files.push({ path, text: await Deno.readTextFile(ROOT + path) });
    }
  };
  for (const folder of folders) await open(folder);
  return files.sort((a, b) => a.path < b.path ? -1 : 1);
}
