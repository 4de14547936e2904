/** Access to the page's elements, for every panel. Text from outside enters only as textContent. */

/** The element with this id. @throws Error when static/index.html has none, or one of another kind */
export function the<T extends Element = HTMLElement>(id: string, kind?: new () => T): T {
  const found = document.getElementById(id);
  if (!found || (kind && !(found instanceof kind))) throw new Error(`static/index.html has no such #${id}`);
  return found as unknown as T;
}

/** A new element with text and children. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  { text, ...properties }: { text?: string } & Partial<Omit<HTMLElementTagNameMap[K], 'style'>> = {},
  ...children: readonly Node[]
): HTMLElementTagNameMap[K] {
  const element = Object.assign(document.createElement(tag), properties);
  if (text !== undefined) element.textContent = text;
  element.append(...children);
  return element;
}

/** Does nothing when the text is the same: no work for the browser, and screen readers do not repeat it. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Gives the person a file. */
export function saveFile(blob: Blob, name: string): void {
  const link = make('a', { href: URL.createObjectURL(blob), download: name });
  link.click();
  // The browser has taken over the blob by the next task.
  setTimeout(() => URL.revokeObjectURL(link.href));
}

export function setAttribute(element: Element, name: string, value: string): void {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

export function setClass(element: Element, className: string): void {
  if (element.className !== className) element.className = className;
}
