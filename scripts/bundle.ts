/**
 * Bundles the program into a few JavaScript files without imports from elsewhere: what both the executable and the Lambda
 * layer are made of. A bundle starts in less than half the time of the sources, and holds no package that is for tests
 * alone. In: main.ts. Out: a folder with main.js and the parts that it loads when they are needed.
 */
import { BuildError, run } from "./artifact.ts";

/** Bundles into `folder`, which is emptied first, and returns the path of the main file. */
export async function bundle(folder: string): Promise<string> {
  await Deno.remove(folder, { recursive: true }).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
  const args = ["bundle", "--quiet", "--frozen", "--minify", "--platform=deno", "--code-splitting"];
  const complaint = await run(Deno.execPath(), [...args, "--outdir", folder, "main.ts"]);
  if (complaint !== undefined) throw new BuildError(`Cannot bundle the program:\n${complaint}`);
  return `${folder}/main.js`;
}
