# couchdb-backup by Terraform: the archives go into a bucket, and CloudFormation makes the stack of template.yaml.

terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "stack_name" {
  type        = string
  default     = "couchdb-backup"
  description = "The stack's name, and that of its state machine: at most 80 characters."
}

variable "parameters" {
  type        = map(string)
  description = "The parameters of docs/lambda.md: CouchUrl, PasswordSecretArn and BucketName have no default."
}

data "aws_s3_bucket" "packages" {
  bucket = var.packages_bucket
}

resource "aws_s3_object" "archive" {
  for_each = local.archives

  bucket = data.aws_s3_bucket.packages.id
  key    = local.keys[each.key]
  source = each.value
}

resource "aws_s3_object" "template" {
  bucket  = data.aws_s3_bucket.packages.id
  key     = "couchdb-backup/template-${sha256(local.template)}.yaml"
  content = local.template
}

resource "aws_cloudformation_stack" "backup" {
  name         = var.stack_name
  template_url = "https://${data.aws_s3_bucket.packages.bucket_regional_domain_name}/${aws_s3_object.template.key}"
  parameters   = var.parameters
  capabilities = ["CAPABILITY_IAM"]

  depends_on = [aws_s3_object.archive]
}

output "function_name" {
  value = aws_cloudformation_stack.backup.outputs["FunctionName"]
}
