/**
 * couchdb-backup as a stack of the AWS CDK. In: the checkout with template.yaml, and what `deno task layer` has put into
 * dist/. Out: the template's resources, with the archives as assets. Its parameters are those of docs/lambda.md.
 */
import { App, Stack } from "aws-cdk-lib";
import { Asset } from "aws-cdk-lib/aws-s3-assets";
import { CfnInclude } from "aws-cdk-lib/cloudformation-include";
import { join } from "node:path";

/** A stack with all that template.yaml makes; `checkout` is the folder that it is in. */
export class CouchDbBackup extends Stack {
  constructor(scope, id, { checkout, parameters, ...props }) {
    super(scope, id, props);
    this.template = new CfnInclude(this, "Template", { templateFile: join(checkout, "template.yaml") });
    const archive = (name) => {
      const { s3BucketName, s3ObjectKey } = new Asset(this, name, { path: join(checkout, "dist", `${name}.zip`) });
      return { s3Bucket: s3BucketName, s3Key: s3ObjectKey };
    };
    const code = archive("function");
    this.template.getResource("Program").content = archive("layer");
    for (const name of ["Function", "ExpireFunction", "RestoreFunction"]) this.template.getResource(name).code = code;
    // As defaults: `cdk deploy --parameters NAME=VALUE` may still say otherwise.
    for (const [name, value] of Object.entries(parameters)) this.template.getParameter(name).default = value;
  }
}

const app = new App();
new CouchDbBackup(app, "couchdb-backup", {
  checkout: join(import.meta.dirname, "../../.."),
  parameters: {
    CouchUrl: "http://[2001:db8::6]:5984",
    PasswordSecretArn: "arn:aws:secretsmanager:eu-central-1:123456789012:secret:couchdb-AbCdEf",
    BucketName: "data.example.com",
    BucketFolder: "folder",
  },
});
app.synth();
