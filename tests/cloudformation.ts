/** Reads template.yaml as CloudFormation does: short forms (`!Ref x`) become long ones (`{Ref: "x"}`). */
import { parse, type Tags } from "yaml";

/** A resource of a template. */
export interface Resource {
  Type: string;
  Condition?: string;
  DeletionPolicy?: string;
  UpdateReplacePolicy?: string;
  // deno-lint-ignore no-explicit-any -- each type has properties of its own
  Properties: any;
}

/** What the tests look at in a template. */
export interface Template {
  Metadata: {
    "AWS::CloudFormation::Interface": {
      ParameterGroups: { Parameters: string[] }[];
      ParameterLabels: Record<string, unknown>;
    };
  };
  Parameters: Record<string, { Type: string; Default?: unknown; Description: string; AllowedPattern?: string }>;
  Conditions: Record<string, unknown>;
  Mappings: { Config: { Template: { Text: string } } };
  Resources: Record<string, Resource>;
  Outputs: Record<string, { Value: unknown }>;
}

const FUNCTIONS = [
  ...["Sub", "GetAtt", "If", "Equals", "Not", "And", "Or", "Join", "Condition"],
  ...["FindInMap", "Select", "Split"],
];

/** Every short form, as a scalar, a list and a mapping. */
const TAGS: Tags = ["Ref", ...FUNCTIONS].flatMap((name) => {
  const longName = name === "Ref" || name === "Condition" ? name : `Fn::${name}`;
  return ([undefined, "seq", "map"] as const).map((collection) => ({
    tag: `!${name}`,
    ...(collection === undefined ? {} : { collection }),
    resolve: (value: unknown) => {
      const plain = typeof value === "string" ? value : (value as { toJSON(): unknown }).toJSON();
      return { [longName]: name === "GetAtt" && typeof plain === "string" ? plain.split(".") : plain };
    },
  }));
});

/** Reads the template in the repository's root. */
export async function readTemplate(): Promise<Template> {
  return parseTemplate(await Deno.readTextFile(new URL("../template.yaml", import.meta.url)));
}

/** Reads a template's text. */
export function parseTemplate(text: string): Template {
  return parse(text, { customTags: TAGS, strict: true });
}

/** The template where the archives lie in a bucket: what `aws cloudformation package` makes of it, and our examples. */
export function withArchives(
  template: Template,
  { layer, code }: Record<"layer" | "code", { S3Bucket: unknown; S3Key: unknown }>,
): Template {
  const packaged = structuredClone(template);
  packaged.Resources.Program!.Properties.Content = layer;
  for (const name of ["Function", "ExpireFunction", "RestoreFunction"]) {
    packaged.Resources[name]!.Properties.Code = code;
  }
  return packaged;
}
