/** Text in colours, for a terminal. Whether there are colours at all is decided by who asks for them. */
import { styleText } from "node:util";

type Style = Parameters<typeof styleText>[0];

/** `text` between the codes that begin and end a style. */
export function styled(style: Style, text: string): string {
  // Not validated: it would look at standard output and the environment, and where the text goes is known here.
  return styleText(style, text, { validateStream: false });
}
