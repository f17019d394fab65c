import { assertEquals } from "@std/assert";
import { authorizationFor, basicAuthorization } from "../src/basic_auth.ts";
import { Secret } from "../src/secret.ts";

Deno.test("basicAuthorization() encodes login and password as UTF-8", () => {
  const cases: [login: string, password: string, value: string][] = [
    ["Aladdin", "open sesame", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="],
    ["test", "123£", "Basic dGVzdDoxMjPCow=="], // RFC 7617's own example.
    ["admin", "", "Basic YWRtaW46"],
    ["a", "b:c", "Basic YTpiOmM="],
  ];
  for (const [login, password, value] of cases) assertEquals(basicAuthorization(login, password), value);
});

Deno.test("authorizationFor() prefers what stands beside the URL, and decodes what stands in it", () => {
  const url = new URL("http://us%40er:p%3Aw@host/");
  assertEquals(authorizationFor(url, {}), basicAuthorization("us@er", "p:w"));
  const given = { login: "other", password: new Secret("s") };
  assertEquals(authorizationFor(url, given), basicAuthorization("other", "s"));
  assertEquals(authorizationFor(new URL("http://host/"), given), basicAuthorization("other", "s"));
  assertEquals(authorizationFor(new URL("http://host/"), {}), undefined);
  assertEquals(authorizationFor(new URL("http://a%:5%off@host/"), {}), basicAuthorization("a%", "5%off"));
});
