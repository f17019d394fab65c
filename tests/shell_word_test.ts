import { assertEquals } from "@std/assert";
import { shellWord } from "../src/shell_word.ts";

Deno.test("shellWord() is read by a shell as the text that it was", async () => {
  const texts = ["plain/a%2Fb.yaml", "", "a b", "it's", '$HOME `x` "q" \\ ! * ~', "-n", "a\nb", "ü", "#x", "a;b&c|d"];
  for (const text of texts) {
    const { stdout } = await new Deno.Command("sh", { args: ["-c", `printf %s ${shellWord(text)} x`] }).output();
    assertEquals(new TextDecoder().decode(stdout), `${text}x`);
  }
  assertEquals(shellWord("./a%2Fb-1.yaml"), "./a%2Fb-1.yaml");
});
