/** What the sections of the part have in common: a volunteer at the page, as impatient as can be. */
/** @typedef {import('../../chromium.mjs').Chromium} Chromium */
/** @typedef {import('../../chromium.mjs').Tab} Tab */
/** @typedef {import('../../cluster.mjs').Cluster} Cluster */
/** @typedef {import('../../cluster.mjs').TimedEvent} TimedEvent */
/** @typedef {import('../../report.mjs').Options & { chromium: Chromium }} BrowserOptions */
/**
 * @typedef {object} Visit
 * @property {string} name
 * @property {string} [engine] the only one to take; else the page takes the fastest by its own trial
 * @property {number} [share] per cent of the machine; else what the page offers
 */

/** The engine for which a tab and Node run the same code. */
export const ENGINE = 'wasm';

/** The token that clusters of the benchmarks have. */
export const TOKEN = 'bench';

/** The page, opened, and its button pressed as soon as that does something. @param {Cluster} cluster @param {Chromium} chromium @param {Visit} visit */
export async function visitPage(cluster, chromium, visit) {
  const host = await hostOf(cluster);
  const tab = await chromium.tab(`${OBSERVE}\n${press(visit)}`);
  const only = visit.engine === undefined ? '' : `&engine=${visit.engine}`;
  const openedMs = await tab.open(`http://${host}/join/#token=${TOKEN}${only}`);
  return { tab, openedMs };
}

/** "127.0.0.1:PORT": a browser shares memory between threads on this machine's own name only, without TLS. @param {Cluster} cluster */
export async function hostOf(cluster) {
  const listening = await cluster.until(({ event }) => event === 'listening', 0);
  return new URL(/** @type {Extract<TimedEvent, { event: 'listening' }>} */ (listening).address).host;
}

/** The button is in the page before its script is; once it has a text, the page hears it. @param {Visit} visit */
function press({ name, share }) {
  const values = JSON.stringify({ name, ...(share === undefined ? {} : { share: String(share) }) });
  return `(() => {
    const press = () => {
      const button = document.querySelector('#start');
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

/** Tasks of the main thread of more than 50 ms: a browser tells of no shorter ones. */
const OBSERVE = `
  window.longTasks = [];
  new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries()) window.longTasks.push({ startMs: startTime, ms: duration });
  }).observe({ type: 'longtask', buffered: true });`;

/**
 * @param {Cluster} cluster
 * @param {string} [name] of whom; else of the first
 * @returns {Promise<{ engine: string, atMs: number }>} the engine with which it is ready, "wasm relaxed-simd 6x2", and since when
 */
export async function readyAs(cluster, name) {
  const ready = await cluster.until(
    (event) => event.event === 'worker' && event.change === 'ready' && (name === undefined || event.name === name),
    0,
  );
  const { reason, atMs } = /** @type {Extract<TimedEvent, { event: 'worker' }>} */ (ready);
  return { engine: reason.replace(/, \d+ chars\/s$/, ''), atMs };
}
