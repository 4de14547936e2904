/** The dashboard: connects state, live link and panels. */
import type { LiveMessage } from '@troupe/run';
import { browserPorts, watchBrowser } from './link/browser-ports.js';
import { createApi } from './link/http-api.js';
import { catchUp, DETAIL_POINTS } from './link/catch-up.js';
import { openLive } from './link/live.js';
import { createBans } from './page/bans.js';
import { createCharts } from './page/charts.js';
import { createControls } from './page/controls.js';
import { createCredits } from './page/credits.js';
import { createDoctor } from './page/doctor.js';
import { createHome } from './page/home.js';
import { make, setText, the } from './page/dom.js';
import { createEvents } from './page/events.js';
import { createFlow } from './page/flow.js';
import { storedText } from './page/stored-text.js';
import { createOverview } from './page/overview.js';
import type { Page, Panel } from './page/page.js';
import { createRuns } from './page/runs.js';
import { createPlayground, createSamples } from './page/samples.js';
import { takeFromAddress } from './page/token-source.js';
import { createWall, isWall } from './page/wall.js';
import { createWorkers } from './page/workers.js';
import { hasToken, receive, type Access } from './reading/access.js';
import { createFormat, type Format } from './reading/format.js';
import { problemText } from './reading/problem.js';
import { langOf } from './reading/translate.js';
import { EMPTY, reduce, missingRounds, type DashboardState, type Input } from './state/state.js';
import { chooseLanguage, LANGUAGES, TEXTS, type Language, type Texts } from './texts.js';

const storedToken = storedText(() => sessionStorage, 'troupe.admin');
const storedLanguage = storedText(() => localStorage, 'troupe.language');
/** How long an announcement is shown. */
const ANNOUNCEMENT_MS = 6_000;
/** Ranges that the person only zooms through are not fetched. */
const ZOOM_DELAY_MS = 150;
/** How often the runs of the folder are fetched again: others may progress meanwhile. */
const RUNS_MS = 30_000;

const base = new URL('.', location.href);
let access: Access = { token: readToken(), refusal: undefined };
let state: DashboardState = EMPTY;
let drawn: DashboardState | undefined;
let language: Language = chooseLanguage(storedLanguage.read() ?? null, navigator.languages);
let [texts, format]: [Texts, Format] = [TEXTS[language], createFormat(language)];
/** Aborts the requests under way when the link opens again: their answers would be outdated. */
let fetches = new AbortController();
let [zoomTimer, announcementTimer] = [0, 0];

const api = createApi(base, () => access.token);
const page: Page = {
  get language() {
    return language;
  },
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
  confirm,
};
const panels: readonly Panel[] = [
  createOverview(page),
  createDoctor(page),
  createControls(page),
  createHome(page),
  createCharts(page),
  createSamples(page),
  createPlayground(page),
  createWorkers(page),
  createBans(page),
  createCredits(page),
  createFlow(page),
  createRuns(page),
  createEvents(page),
  ...(isWall(location.search) ? [createWall(page)] : []),
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

function readToken(): string | undefined {
  const replaceFragment = (rest: string): void => history.replaceState(null, '', `${location.pathname}${location.search}${rest}`);
  return takeFromAddress({ fragment: location.hash, replaceFragment }, storedToken);
}

function onMessage(received: LiveMessage): void {
  const { access: next, retries, announces, message } = receive(access, received);
  access = next;
  if (announces) announce(problemText(announces.message, announces.remedy));
  if (message) dispatch(message);
  if (!retries) return;
  if (access.token === undefined) storedToken.forget();
  live.reconnect();
}

function useToken(token: string | undefined): void {
  access = { ...access, token };
  live.reconnect();
}

function listenForToken(): void {
  window.addEventListener('hashchange', () => {
    if (!hasToken(location.hash)) return;
    useToken(readToken());
  });
  the('token-form', HTMLFormElement).addEventListener('submit', (event) => {
    event.preventDefault();
    const field = the('token', HTMLInputElement);
    // A pasted token often comes with a space or a line break.
    const entered = field.value.trim();
    field.value = '';
    if (entered === '') return;
    if (!storedToken.write(entered)) announce(texts.tokenNotStored);
    useToken(entered);
  });
}

function dispatch(input: Input): void {
  const before = state;
  state = reduce(state, input);
  if (input.type === 'hello') {
    fetches.abort();
    fetches = new AbortController();
    void catchUp(api, dispatch, fetches.signal);
  }
  if (state.range !== before.range || input.type === 'history') askForDetail();
  if (drawn === before) requestAnimationFrame(draw);
}

/** Draws everything that arrived since the last frame. */
function draw(): void {
  const before = drawn;
  drawn = state;
  for (const panel of panels) panel(state, before);
}

function askForDetail(): void {
  clearTimeout(zoomTimer);
  const { range } = state;
  zoomTimer = setTimeout(() => {
    const rounds = missingRounds(state);
    if (!rounds || range !== state.range) return;
    api.history(rounds, DETAIL_POINTS, fetches.signal).then(
      (history) => dispatch({ type: 'detail', range, history }),
      // The coarse points stay.
      () => undefined,
    );
  }, ZOOM_DELAY_MS);
}

async function refreshRuns(): Promise<void> {
  if (document.hidden || state.link.at !== 'live') return;
  try {
    dispatch({ type: 'runs', runs: await api.runs(fetches.signal) });
  } catch {
    // The live link notices that the coordinator is away.
  }
}

function chooseTexts(): void {
  const select = the('language', HTMLSelectElement);
  const choices = Object.entries(LANGUAGES).map(([value, text]) => make('option', { value, text, lang: value }));
  select.replaceChildren(...choices);
  select.value = language;
  select.addEventListener('change', () => {
    language = select.value as Language;
    storedLanguage.write(language);
    [texts, format] = [TEXTS[language], createFormat(language)];
    drawTexts();
  });
  drawTexts();
}

/** Draws the texts of index.html, and then those of every panel. */
function drawTexts(): void {
  document.documentElement.lang = langOf(language);
  for (const element of document.querySelectorAll<HTMLElement>('[data-text]')) {
    const found = element.dataset.text!.split('.').reduce<unknown>((part, key) => (part as Record<string, unknown>)[key], texts);
    setText(element, found as string);
  }
  drawn = undefined;
  draw();
}

function announce(text: string): void {
  clearTimeout(announcementTimer);
  setText(the('announcement'), text);
  announcementTimer = setTimeout(() => setText(the('announcement'), ''), ANNOUNCEMENT_MS);
}

function confirm(title: string, what: string, yes: string): Promise<boolean> {
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
