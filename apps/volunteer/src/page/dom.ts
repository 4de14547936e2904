/** Access to the page's elements. Text enters only as text, never as markup. */

export function byId<E extends Element>(id: string, kind: abstract new (...args: never) => E): E {
  const element = document.getElementById(id);
  if (element instanceof kind) return element;
  throw new Error(`the page has no ${kind.name} "${id}"`);
}

export const html = (id: string): HTMLElement => byId(id, HTMLElement);

/** Does nothing when the text is the same: screen readers repeat text that is set again, and selections are lost. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export function show(element: HTMLElement, visible: boolean): void {
  if (element.hidden === visible) element.hidden = !visible;
}

export function element<K extends keyof HTMLElementTagNameMap>(tag: K, text: string): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}
