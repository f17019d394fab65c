/** Parts of the pictures that scripts draw for the documentation. In: texts, and places in a picture. Out: SVG. Pure. */

/** Where a text stands, and how it looks. */
export interface TextLook {
  /** Where its baseline begins, or, with another `text-anchor`, is in the middle or ends. */
  x: number;
  y: number;
  /** Its colour. */
  fill: string;
  /** Further attributes, such as `font-size="10"`. @default none */
  more?: string;
}

/** A text. */
export function svgText(content: string, { x, y, fill, more = "" }: TextLook): string {
  const escaped = content.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text x="${rounded(x)}" y="${rounded(y)}" fill="${fill}" ${more}>${escaped}</text>`;
}

/** A place to a tenth: nobody sees more of it. */
export function rounded(value: number): number {
  return Math.round(value * 10) / 10;
}
