/**
 * Turns src/json/assembly/kernel.ts, which is AssemblyScript, into WebAssembly: writes src/json/kernel_code.ts. Its
 * tests compare what is there with what this makes.
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import asc from "assemblyscript/asc";

const root = new URL("../", import.meta.url);
const SOURCE = "src/json/assembly/kernel.ts";
const CODE = "src/json/kernel_code.ts";
const LINE = 110;

/** The source as WebAssembly, with or without SIMD. @throws Error with what the compiler says. */
export async function assemble(source: string, { simd }: { simd: boolean }): Promise<Uint8Array<ArrayBuffer>> {
  let code: Uint8Array<ArrayBuffer> | undefined;
  const said: string[] = [];
  const note = { write: (text: string | Uint8Array) => void said.push(String(text)) };
  const { error } = await asc.main(
    [
      "kernel.ts",
      "--outFile",
      "kernel.wasm",
      "-O3",
      "--runtime",
      "stub",
      simd ? "--enable" : "--disable",
      "simd",
      "--noAssert",
    ],
    {
      stdout: note,
      stderr: note,
      readFile: (name: string) => name === "kernel.ts" ? source : null,
      writeFile: (_name: string, content: string | Uint8Array) => {
        if (typeof content !== "string") code = Uint8Array.from(content);
      },
      listFiles: () => [],
    },
  );
  if (error !== null || code === undefined) throw new Error(`Cannot assemble ${SOURCE}: ${said.join("")}`);
  return code;
}

/** The file that holds the code. */
export async function codeFile(source: string): Promise<string> {
  return `/** Made of assembly/kernel.ts by \`deno task assemble\`; not to be edited. */

/** sha256 of that file. */
export const SOURCE_SHA256 = "${createHash("sha256").update(source).digest("hex")}";

/** The WebAssembly that it becomes, as base64. */
export const CODE: string = ${inLines(await assemble(source, { simd: true }))};

/** The same for processors without SIMD. */
export const CODE_WITHOUT_SIMD: string = ${inLines(await assemble(source, { simd: false }))};
`;
}

function inLines(code: Uint8Array): string {
  const lines = Buffer.from(code).toString("base64").match(new RegExp(`.{1,${LINE}}`, "g"))!;
  return `[\n${lines.map((line) => `  "${line}"`).join(",\n")},\n].join("")`;
}

if (import.meta.main) {
  const source = await Deno.readTextFile(new URL(SOURCE, root));
  await Deno.writeTextFile(new URL(CODE, root), await codeFile(source));
}
