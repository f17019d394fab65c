/** Prints the access key id of the profile in `AWS_PROFILE`, whose file is the argument. */
import { openCredentials } from "../../src/aws/credential_chain.ts";

const profile = Deno.env.get("AWS_PROFILE");
const keySources = { profile, profileFiles: Deno.args, webIdentity: false, metadataEndpoints: [] };
await Deno.stdout.write(new TextEncoder().encode((await openCredentials({ keySources })()).accessKeyId));
