/**
 * The declarations of the library in one file: what mod.ts exports, and what these exports are made of. In: mod.ts.
 * Out: the text of a `.d.ts` that imports nothing.
 */
import { rollup } from "rollup";
import { dts } from "rollup-plugin-dts";
import ts from "typescript";
import { BuildError } from "../artifact.ts";

/** Declares what the module at `path` exports, under the package's name `name`. */
export async function declare(path: string, { name }: { name: string }): Promise<string> {
  const plugin = dts({
    compilerOptions: {
      strict: true,
      exactOptionalPropertyTypes: true,
      target: ts.ScriptTarget.ESNext,
      module: ts.ModuleKind.ESNext,
      moduleResolution: ts.ModuleResolutionKind.Bundler,
      allowImportingTsExtensions: true,
      lib: ["lib.esnext.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts", "lib.dom.asynciterable.d.ts"],
      types: [],
    },
  });
  // What packages export stands nowhere in the API: the imports of them are dropped with the code that uses them.
  const build = await rollup({ input: path, external: (id) => !/^[./]/.test(id), plugins: [plugin] });
  const { output } = await build.generate({ format: "es" });
  await build.close();
  const text = output[0].code;
  const [left] = /^import .*$/m.exec(text) ?? [];
  if (left !== undefined) throw new BuildError(`Cannot declare the library: its API needs another package\n${left}`);
  // `using` a session needs a library that TypeScript does not take by itself.
  return `/// <reference lib="esnext.disposable" />\n${tidy(text, name)}`;
}

/** Comments on files that are no files any more go; examples import the package. */
function tidy(text: string, name: string): string {
  return text
    .replaceAll(/^\/\*\*(?:(?!\*\/)[\s\S])*\*\/\n\n/gm, "")
    .replaceAll(/^( \* import .* from )"\.{1,2}\/[^"]*\.ts";$/gm, `$1"${name}";`);
}
