/** What is wrong with the layout of a page, found in the browser. */
import type { Tab } from './chromium.js';

/** Evaluates to a list of faults in the layout; see `faults`. */
const FIND_FAULTS = String.raw`(() => {
  const found = [];
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) found.push('the page is ' + root.scrollWidth + ' px wide');
  const cut = (rect, box) => ({ left: Math.max(rect.left, box.left), right: Math.min(rect.right, box.right),
    top: Math.max(rect.top, box.top), bottom: Math.min(rect.bottom, box.bottom) });
  const isEmpty = ({ left, right, top, bottom }) => right - left < 1 || bottom - top < 1;
  const clips = (element) => getComputedStyle(element).overflowX !== 'visible';
  // The part of a text that is to be seen: what a scrolling box hides cannot overlap.
  const seen = (node, rect) => {
    for (let parent = node.parentElement; parent && parent !== document.body; parent = parent.parentElement)
      if (clips(parent)) rect = cut(rect, parent.getBoundingClientRect());
    return rect;
  };
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const parent = node.parentElement;
    if (!node.data.trim() || parent.closest('.unseen, .skip, script, noscript, option, svg') || !parent.checkVisibility()) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const line of range.getClientRects()) {
      const rect = seen(node, line);
      if (!isEmpty(rect)) texts.push({ text: node.data.trim().slice(0, 40), parent, rect });
    }
  }
  const overlap = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4;
  texts.forEach((one, i) => {
    const other = texts.slice(i + 1).find(({ parent, rect }) => parent !== one.parent && overlap(rect, one.rect));
    if (other) found.push('"' + one.text + '" and "' + other.text + '" overlap');
    const card = one.parent.closest('.card, .stats > div');
    const box = card?.getBoundingClientRect();
    if (box && (one.rect.right > box.right + 1 || one.rect.left < box.left - 1)) found.push('"' + one.text + '" leaves its card');
  });
  const cards = [...document.querySelectorAll('.card, .overview')].filter((card) => card.checkVisibility());
  cards.forEach((card, i) => {
    const rect = card.getBoundingClientRect();
    const other = cards.slice(i + 1).find((next) => overlap(next.getBoundingClientRect(), rect));
    if (other) found.push('#' + card.id + ' and #' + other.id + ' overlap');
  });
  const grid = document.querySelector('.stats').getBoundingClientRect();
  const last = document.querySelector('.stats').lastElementChild.getBoundingClientRect();
  if (Math.abs(grid.right - last.right) > 2) found.push('the figures leave a hole');
  return [...new Set(found)];
})()`;

/** Texts that overlap or leave their card, cards that overlap, holes, and a page that is too wide. */
export const faults = (tab: Tab): Promise<string[]> => tab.evaluate(FIND_FAULTS);

/** Resolves when the page is drawn. */
export const settled = (tab: Tab): Promise<void> =>
  tab.evaluate('new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))');
