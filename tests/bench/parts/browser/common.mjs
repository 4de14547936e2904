/** What the sections share: a volunteer who opens the page and presses the button at once. */
/** @typedef {import('../../chromium.mjs').Chromium} Chromium */
/** @typedef {import('../../chromium.mjs').Tab} Tab */
/** @typedef {import('../../cluster.mjs').Cluster} Cluster */
/** @typedef {import('../../cluster.mjs').TimedEvent} TimedEvent */
/** @typedef {import('../../report.mjs').Options & { chromium: Chromium }} BrowserOptions */
/**
 * @typedef {object} Visit
 * @property {string} name
 * @property {string} [engine] the only engine allowed; default: the fastest in the page's own trial
 * @property {number} [share] per cent of the machine; default: the page's default
 */

/** The engine whose code is the same in a tab and in Node. */
export const ENGINE = 'wasm';

/** The token of the benchmarks' clusters. */
export const TOKEN = 'bench';

/** Opens the page and presses its button as soon as the button works. @param {Cluster} cluster @param {Chromium} chromium @param {Visit} visit */
export async function visitPage(cluster, chromium, visit) {
  const host = await hostOf(cluster);
  const tab = await chromium.tab(`${OBSERVE}\n${press(visit)}`);
  const only = visit.engine === undefined ? '' : `&engine=${visit.engine}`;
  const openedMs = await tab.open(`http://${host}/join/#token=${TOKEN}${only}`);
  return { tab, openedMs };
}

/** "127.0.0.1:PORT": without TLS, a browser shares memory between threads only for this machine's own address. @param {Cluster} cluster */
export async function hostOf(cluster) {
  const listening = await cluster.until(({ event }) => event === 'listening', 0);
  return new URL(/** @type {Extract<TimedEvent, { event: 'listening' }>} */ (listening).address).host;
}

/** The button is in the page before the script has loaded. Once it has a text, the page listens to it, and may ask for consent first. @param {Visit} visit */
function press({ name, share }) {
  const values = JSON.stringify({ name, ...(share === undefined ? {} : { share: String(share) }) });
  return `(() => {
    const press = () => {
      const button = document.querySelector('#start');
      const consent = document.querySelector('#consent');
      if (consent?.checkVisibility() && !consent.checked) consent.click();
      if (!button?.textContent || button.disabled) return requestAnimationFrame(press);
      for (const [id, value] of Object.entries(${values})) {
        const field = document.getElementById(id);
        field.value = value;
        field.dispatchEvent(new Event('input', { bubbles: true }));
      }
      window.pressedMs = performance.now();
      button.click();
    };
    requestAnimationFrame(press);
  })();`;
}

/** Records tasks of the main thread over 50 ms; a browser reports no shorter ones. */
const OBSERVE = `
  window.longTasks = [];
  new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries()) window.longTasks.push({ startMs: startTime, ms: duration });
  }).observe({ type: 'longtask', buffered: true });`;

/**
 * @param {Cluster} cluster
 * @param {string} [name] of the worker; default: the first one that is ready
 * @returns {Promise<{ engine: string, atMs: number }>} the engine it uses, such as "wasm relaxed-simd 6x2", and when it became ready
 */
export async function readyAs(cluster, name) {
  const ready = await cluster.until(
    (event) => event.event === 'worker' && event.change === 'ready' && (name === undefined || event.name === name),
    0,
  );
  const { reason, atMs } = /** @type {Extract<TimedEvent, { event: 'worker' }>} */ (ready);
  return { engine: reason.replace(/, \d+ chars\/s$/, ''), atMs };
}
