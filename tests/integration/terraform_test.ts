/**
 * lambda/examples/terraform in Terraform's own hands, as far as it goes without the provider for AWS, which no package
 * registry has: how the files are formatted, and the template that comes out. `TERRAFORM` is the path of a terraform.
 */
import { assertEquals } from "@std/assert";
import { join, resolve } from "node:path";
import { parseTemplate, readTemplate, withArchives } from "../cloudformation.ts";

const EXAMPLE = "lambda/examples/terraform";

async function terraform(args: string[], { cwd, input = "" }: { cwd: string; input?: string }): Promise<string> {
  const env = { CHECKPOINT_DISABLE: "1", TF_CLI_CONFIG_FILE: "/dev/null", NO_COLOR: "1" };
  const options = { args, cwd, env, stdin: "piped", stdout: "piped", stderr: "piped" } as const;
  const child = new Deno.Command(Deno.env.get("TERRAFORM") ?? "terraform", options).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  assertEquals(code, 0, new TextDecoder().decode(stderr) + new TextDecoder().decode(stdout));
  return new TextDecoder().decode(stdout);
}

Deno.test("lambda/examples/terraform is formatted as Terraform does it", async () => {
  assertEquals(await terraform(["fmt", "-check", "-recursive", "-diff"], { cwd: EXAMPLE }), "");
});

Deno.test("lambda/examples/terraform makes template.yaml's stack, with the archives where they were uploaded", async () => {
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-terraform-" });
  try {
    await Deno.mkdir(join(folder, "checkout/dist"), { recursive: true });
    for (const name of ["layer", "function"]) {
      await Deno.writeTextFile(join(folder, "checkout/dist", `${name}.zip`), name);
    }
    await Deno.copyFile("template.yaml", join(folder, "checkout/template.yaml"));
    await Deno.copyFile(resolve(EXAMPLE, "template.tf"), join(folder, "template.tf"));
    const values = ["-var", "checkout=./checkout", "-var", "packages_bucket=packages.example.com"];
    const shown = async (expression: string) =>
      JSON.parse(
        JSON.parse(await terraform(["console", ...values], { cwd: folder, input: `jsonencode(${expression})\n` })),
      );
    const keys = await shown("local.keys");
    const hash = async (text: string) =>
      new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))).toHex();
    assertEquals(keys, {
      layer: `couchdb-backup/layer-${await hash("layer")}.zip`,
      function: `couchdb-backup/function-${await hash("function")}.zip`,
    });
    const place = (S3Key: string) => ({ S3Bucket: "packages.example.com", S3Key });
    const places = { layer: place(keys.layer), code: place(keys.function) };
    assertEquals(parseTemplate(await shown("local.template")), withArchives(await readTemplate(), places));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
