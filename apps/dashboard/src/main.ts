/** The dashboard: state, link and panels put together. */
import type { LiveMessage } from '@troupe/run';
import { browserPorts, watchBrowser } from './link/browser-ports.js';
import { createApi } from './link/http-api.js';
import { catchUp, DETAIL_POINTS } from './link/catch-up.js';
import { openLive } from './link/live.js';
import { createCharts } from './page/charts.js';
import { createControls } from './page/controls.js';
import { make, setText, the } from './page/dom.js';
import { createEvents } from './page/events.js';
import { createFlow } from './page/flow.js';
import { keep } from './page/kept.js';
import { createOverview } from './page/overview.js';
import type { Page, Panel } from './page/page.js';
import { createRuns } from './page/runs.js';
import { createPlayground, createSamples } from './page/samples.js';
import { createWorkers } from './page/workers.js';
import { receive, takeToken, type Access } from './reading/access.js';
import { createFormat, type Format } from './reading/format.js';
import { EMPTY, reduce, wanted, type DashboardState, type Input } from './state/state.js';
import { chooseLanguage, LANGUAGES, TEXTS, type Language, type Texts } from './texts.js';

const keptToken = keep(() => sessionStorage, 'troupe.admin');
const keptLanguage = keep(() => localStorage, 'troupe.language');
/** How long an announcement stays. */
const ANNOUNCED_MS = 6_000;
/** A range that was zoomed through is not asked for. */
const ZOOM_RESTS_MS = 150;
/** Other runs of the folder may go on meanwhile. */
const RUNS_MS = 30_000;

const base = new URL('.', location.href);
let access: Access = { token: takeFromAddress(), refusal: undefined };
let state: DashboardState = EMPTY;
let drawn: DashboardState | undefined;
let language: Language = chooseLanguage(keptLanguage.read() ?? null, navigator.languages);
let [texts, format]: [Texts, Format] = [TEXTS[language], createFormat(language)];
/** What is being fetched; whatever is on its way when the link opens anew is of no use. */
let asking = new AbortController();
let [resting, silence] = [0, 0];

const api = createApi(base, () => access.token);
const page: Page = {
  get texts() {
    return texts;
  },
  get format() {
    return format;
  },
  get state() {
    return state;
  },
  api,
  dispatch,
  announce,
  confirm: ask,
};
const panels: readonly Panel[] = [
  createOverview(page),
  createControls(page),
  createCharts(page),
  createSamples(page),
  createPlayground(page),
  createWorkers(page),
  createFlow(page),
  createRuns(page),
  createEvents(page),
];
chooseTexts();
const live = openLive({
  ports: browserPorts(base),
  token: () => access.token,
  onConnecting: () => dispatch({ type: 'connecting' }),
  onMessage,
  onLost: (retryAt) => dispatch({ type: 'lost', retryAt }),
});
watchBrowser(live);
listenForToken();
setInterval(() => void refreshRuns(), RUNS_MS);

/** The token of the address, which loses it, or the one of this tab. */
function takeFromAddress(): string | undefined {
  const { token: given, rest } = takeToken(location.hash);
  if (given === undefined) return keptToken.read();
  keptToken.write(given);
  history.replaceState(null, '', `${location.pathname}${location.search}${rest}`);
  return given;
}

function onMessage(received: LiveMessage): void {
  const { access: next, retries, announces, message } = receive(access, received);
  access = next;
  if (announces) announce(`${announces.message}. ${announces.remedy}`);
  if (message) dispatch(message);
  if (!retries) return;
  keptToken.forget();
  live.reconnect();
}

function useToken(token: string | undefined): void {
  access = { ...access, token };
  live.reconnect();
}

function listenForToken(): void {
  window.addEventListener('hashchange', () => {
    if (!location.hash.includes('admin=')) return;
    useToken(takeFromAddress());
  });
  the('token-form', HTMLFormElement).addEventListener('submit', (event) => {
    event.preventDefault();
    const field = the('token', HTMLInputElement);
    // What is pasted often brings a space or a line end along.
    const entered = field.value.trim();
    field.value = '';
    if (entered === '') return;
    keptToken.write(entered);
    useToken(entered);
  });
}

function dispatch(input: Input): void {
  const before = state;
  state = reduce(state, input);
  if (input.type === 'hello') {
    asking.abort();
    asking = new AbortController();
    void catchUp(api, dispatch, asking.signal);
  }
  if (state.range !== before.range || input.type === 'history') askForDetail();
  if (drawn === before) requestAnimationFrame(draw);
}

/** Draws all that came since the last frame at once. */
function draw(): void {
  const before = drawn;
  drawn = state;
  for (const panel of panels) panel(state, before);
}

function askForDetail(): void {
  clearTimeout(resting);
  const { range } = state;
  resting = setTimeout(() => {
    const rounds = wanted(state);
    if (!rounds || range !== state.range) return;
    api.history(rounds, DETAIL_POINTS, asking.signal).then(
      (history) => dispatch({ type: 'detail', range, history }),
      // The coarse points are shown already.
      () => undefined,
    );
  }, ZOOM_RESTS_MS);
}

async function refreshRuns(): Promise<void> {
  if (document.hidden || state.link.at !== 'live') return;
  try {
    dispatch({ type: 'runs', runs: await api.runs(asking.signal) });
  } catch {
    // The live link notices a coordinator that is away.
  }
}

function chooseTexts(): void {
  const select = the('language', HTMLSelectElement);
  const choices = Object.entries(LANGUAGES).map(([value, text]) => make('option', { value, text, lang: value }));
  select.replaceChildren(...choices);
  select.value = language;
  select.addEventListener('change', () => {
    language = select.value as Language;
    keptLanguage.write(language);
    [texts, format] = [TEXTS[language], createFormat(language)];
    write();
  });
  write();
}

/** The texts that stand in the page itself, and then every panel's. */
function write(): void {
  document.documentElement.lang = language === 'zh' ? 'zh-CN' : 'en';
  for (const element of document.querySelectorAll<HTMLElement>('[data-text]')) {
    const found = element.dataset.text!.split('.').reduce<unknown>((part, key) => (part as Record<string, unknown>)[key], texts);
    setText(element, found as string);
  }
  drawn = undefined;
  draw();
}

function announce(text: string): void {
  clearTimeout(silence);
  setText(the('announcement'), text);
  silence = setTimeout(() => setText(the('announcement'), ''), ANNOUNCED_MS);
}

function ask(title: string, what: string, yes: string): Promise<boolean> {
  const dialog = the('dialog', HTMLDialogElement);
  setText(the('dialog-title'), title);
  setText(the('dialog-what'), what);
  setText(the('dialog-yes'), yes);
  dialog.returnValue = 'no';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
  });
}
