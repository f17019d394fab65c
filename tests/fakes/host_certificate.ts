/** A certificate of a test's own for the names of others, made by openssl. */
import { assertEquals } from "@std/assert";

/** A certificate and its key as PEM, and the path of the authority's. */
export interface HostCertificate {
  ca: string;
  cert: string;
  key: string;
}

/** An authority, and a certificate by it for hosts and what is below them; the files go into a folder. */
export async function makeHostCertificate(folder: string, hosts: readonly string[]): Promise<HostCertificate> {
  const names = hosts.flatMap((name) => [name, `*.${name}`]);
  await Deno.writeTextFile(`${folder}/names`, `subjectAltName=${names.map((name) => `DNS:${name}`).join(",")}\n`);
  const openssl = async (...args: string[]) => {
    const { code, stderr } = await new Deno.Command("openssl", { args, cwd: folder, stderr: "piped" }).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
  };
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  await openssl("req", "-x509", ...newKey, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test", "-days", "2");
  await openssl("req", ...newKey, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=aws");
  const by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"];
  await openssl("x509", "-req", "-in", "request.pem", ...by, "-out", "cert.pem");
  const read = (name: string) => Deno.readTextFile(`${folder}/${name}`);
  return { ca: `${folder}/ca.pem`, cert: await read("cert.pem"), key: await read("key.pem") };
}
