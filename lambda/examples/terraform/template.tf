# template.yaml, with the archives of `deno task layer` at the place where CloudFormation fetches them.

variable "checkout" {
  type        = string
  default     = "../../.."
  description = "The folder with template.yaml and dist/."
}

variable "packages_bucket" {
  type        = string
  description = "The bucket that the archives and the template are uploaded to; it is in the stack's region."
}

locals {
  archives = {
    layer    = "${var.checkout}/dist/layer.zip"
    function = "${var.checkout}/dist/function.zip"
  }

  # By what is in them: what has changed has another name, and the stack sees it.
  keys = { for name, path in local.archives : name => "couchdb-backup/${name}-${filesha256(path)}.zip" }

  # The text and not what it means: Terraform's reader of YAML does not know CloudFormation's functions.
  template = replace(
    replace(
      file("${var.checkout}/template.yaml"),
      "Content: dist/layer.zip",
      "Content: { S3Bucket: ${var.packages_bucket}, S3Key: ${local.keys.layer} }"
    ),
    "Code: dist/function.zip",
    "Code: { S3Bucket: ${var.packages_bucket}, S3Key: ${local.keys.function} }"
  )
}
