/** A text for the content and the attributes of HTML and SVG, where it is shown as it is. */
export function escapeMarkup(text: string): string {
  return text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}
