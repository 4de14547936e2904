/** The few things every panel does to the page. Text from outside enters by textContent only. */

/** The element of the page with this id. @throws Error when static/index.html lacks it, or has another kind */
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

/** Leaves alone what says so already: no work for the browser, nothing said twice by a screen reader. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element: Element, name: string, value: string): void {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

export function setClass(element: Element, className: string): void {
  if (element.className !== className) element.className = className;
}
