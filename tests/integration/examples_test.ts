/**
 * lambda/examples against template.yaml: the AWS CDK's app is synthesized, and Terraform's files are parsed. Wants
 * Python with python-hcl2, as scripts/ci/cloud_tools.sh installs it, in `CLOUD_PYTHON`; and the CDK's library, as
 * scripts/ci/cdk.sh installs it, in the node_modules that `CDK_MODULES` names.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join, resolve } from "node:path";
import { readTemplate, withArchives } from "../cloudformation.ts";

const python = Deno.env.get("CLOUD_PYTHON") ?? ".venv/bin/python";
const modules = Deno.env.get("CDK_MODULES") ?? ".cdk/node_modules";

/** A checkout with archives, as `deno task layer` leaves it, and one of the examples. */
async function makeCheckout(example: string): Promise<{ folder: string; example: string } & AsyncDisposable> {
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-example-" });
  const there = join(folder, "lambda/examples", example);
  await Deno.mkdir(there, { recursive: true });
  await Deno.mkdir(join(folder, "dist"));
  for (const name of ["layer", "function"]) await Deno.writeTextFile(join(folder, "dist", `${name}.zip`), name);
  await Deno.copyFile("template.yaml", join(folder, "template.yaml"));
  for await (const { name } of Deno.readDir(`lambda/examples/${example}`)) {
    await Deno.copyFile(`lambda/examples/${example}/${name}`, join(there, name));
  }
  return { folder, example: there, [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }) };
}

async function run(command: string, options: Deno.CommandOptions): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(command, options).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

/** CloudFormation takes `"Resource.Attribute"` for `["Resource", "Attribute"]`, and the CDK writes that. */
function withLongGetAtt(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(withLongGetAtt);
  return Object.fromEntries(
    Object.entries(value).map(([key, one]) => [
      key,
      key === "Fn::GetAtt" && typeof one === "string" ? one.split(".") : withLongGetAtt(one),
    ]),
  );
}

Deno.test("lambda/examples/cdk makes template.yaml's stack, with the archives as assets", async () => {
  await using checkout = await makeCheckout("cdk");
  await Deno.symlink(resolve(modules), join(checkout.example, "node_modules"));
  const out = join(checkout.folder, "cdk.out");
  const { app } = JSON.parse(await Deno.readTextFile(join(checkout.example, "cdk.json")));
  const [command, ...args] = app.split(" ");
  await run(command, { args, cwd: checkout.example, env: { CDK_OUTDIR: out } });
  const made = withLongGetAtt(JSON.parse(await Deno.readTextFile(join(out, "couchdb-backup.template.json")))) as {
    Parameters: Record<string, { Default?: string }>;
    Rules: Record<string, unknown>;
  };
  const { files } = JSON.parse(await Deno.readTextFile(join(out, "couchdb-backup.assets.json")));
  const assets = new Map<string, { S3Bucket: unknown; S3Key: string }>();
  for (const { source, destinations } of Object.values(files) as Record<string, Record<string, unknown>>[]) {
    const path = join(out, String(source!.path));
    const [destination] = Object.values(destinations!) as { bucketName: string; objectKey: string }[];
    const { bucketName, objectKey } = destination!;
    const place = { S3Bucket: { "Fn::Sub": bucketName }, S3Key: objectKey };
    if (path.endsWith(".zip")) assets.set(await Deno.readTextFile(path), place);
  }
  const template = await readTemplate();
  const expected = withArchives(template, { layer: assets.get("layer")!, code: assets.get("function")! });
  // What the CDK adds of its own is about itself.
  const { BootstrapVersion: _, ...parameters } = made.Parameters;
  const { CheckBootstrapVersion: __, ...rules } = made.Rules;
  for (const [name, { Default }] of Object.entries(parameters)) {
    if (template.Parameters[name]!.Default !== undefined && name !== "BucketFolder") continue;
    // Those without a default have the example's.
    assertMatch(Default!, new RegExp(template.Parameters[name]!.AllowedPattern!));
    expected.Parameters[name]!.Default = Default;
  }
  assertEquals({ ...made, Parameters: parameters, Rules: rules } as unknown, expected);
});

Deno.test("lambda/examples/terraform is HCL that names only what it declares, and finds the archives in template.yaml", async () => {
  const program = `import hcl2, json, sys
print(json.dumps([hcl2.load(open(name)) for name in sys.argv[1:]]))`;
  const files = ["template.tf", "main.tf"].map((name) => `lambda/examples/terraform/${name}`);
  const text = (await Promise.all(files.map((file) => Deno.readTextFile(file)))).join("\n");
  type Blocks = Record<string, Record<string, Record<string, unknown>>>[];
  const parsed: Record<string, Blocks>[] = JSON.parse(await run(python, { args: ["-c", program, ...files] }));
  const name = (quoted: string) => quoted.replaceAll('"', "");
  const blocks = (kind: string) => parsed.flatMap((file) => file[kind] ?? []);
  const namesIn = (kind: string) => blocks(kind).flatMap((block) => Object.keys(block).map(name));
  const pairsIn = (kind: string) =>
    blocks(kind).flatMap((block) =>
      Object.entries(block).flatMap(([type, ofType]) => Object.keys(ofType).map((one) => `${name(type)}.${name(one)}`))
    );
  const declared = new Set([
    ...namesIn("variable").map((one) => `var.${one}`),
    ...namesIn("locals").map((one) => `local.${one}`),
    ...pairsIn("data").map((one) => `data.${one}`),
    ...pairsIn("resource"),
  ]);
  const code = text.replaceAll(/^\s*#.*$/gm, "").replaceAll(/description = .*$/gm, "");
  const used = code.matchAll(/\b(?:(?:var|local)\.\w+|data\.\w+\.\w+|(?<!data\.)\baws_\w+\.\w+)/g);
  const names = [...used].map(([one]) => one);
  assert(names.length > 10, `only ${names.length} names were found`);
  assertEquals(names.filter((one) => !declared.has(one)), []);
  assertEquals(pairsIn("resource").sort(), [
    "aws_cloudformation_stack.backup",
    "aws_s3_object.archive",
    "aws_s3_object.template",
  ]);
  const template = await Deno.readTextFile("template.yaml");
  for (const [line, times] of [["Content: dist/layer.zip", 1], ["Code: dist/function.zip", 3]] as const) {
    assertEquals([text.split(`"${line}"`).length - 1, template.split(line).length - 1], [1, times], line);
  }
  const outputs = code.matchAll(/outputs\["(\w+)"\]/g);
  for (const [, output] of outputs) assertMatch(template, new RegExp(`^  ${output}:$`, "m"));
});
