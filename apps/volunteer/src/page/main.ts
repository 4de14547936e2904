/** The page: wires what the person does and what the device tells to a session, and draws what comes of it. */
import { obstacle, SIMD_MODULE } from '../decisions/capability.js';
import { readInvitation } from '../decisions/link.js';
import type { RunFacts } from '../decisions/run-facts.js';
import type { Status } from '../decisions/status.js';
import type { Terms } from '../decisions/terms.js';
import type { Report } from '../messages.js';
import { createSession, type TrainerHandle } from '../session.js';
import { chooseLanguage, TEXTS } from '../texts.js';
import { createWakeLock, watchBattery, watchNetwork, watchVisibility } from './devices.js';
import { byId, show } from './dom.js';
import { isReachable, watchRun } from './live.js';
import { store } from './store.js';
import { draw, findElements } from './view.js';

/** Failed tries to connect after which one asks whether it is WebSockets alone that do not work. */
const SUSPICIOUS_MISSES = 2;

const elements = findElements();
const invitation = readInvitation(location);
const wakeLock = createWakeLock();
const host = {
  webAssembly: typeof WebAssembly === 'object',
  simd: typeof WebAssembly === 'object' && WebAssembly.validate(SIMD_MODULE),
  workers: typeof Worker === 'function',
  webSockets: typeof WebSocket === 'function',
};

let language = chooseLanguage(store.language(), navigator.languages);
let terms = store.terms();
let credit = store.credit();
let facts: RunFacts | undefined;
let isBlocked = false;

const session = createSession({
  openTrainer,
  after(ms, action) {
    const timer = setTimeout(action, ms);
    return () => clearTimeout(timer);
  },
  introduction: () => ({
    address: invitation.address,
    token: invitation.token,
    name: terms.name.trim() || TEXTS[language].anonymous,
    only: invitation.only,
  }),
  onStatus,
});

function openTrainer(onReport: (report: Report) => void): TrainerHandle {
  const worker = new Worker(new URL('./trainer.js', import.meta.url), { type: 'module' });
  worker.addEventListener('message', ({ data }: MessageEvent<Report>) => onReport(data));
  worker.addEventListener('error', ({ message }) => {
    const failure = { code: 'internal', message: message || 'the trainer script did not load', remedy: '' };
    onReport({ kind: 'ended', failure });
  });
  return { post: (order) => worker.postMessage(order), terminate: () => worker.terminate() };
}

/** Of the sum that was last added to the credit. */
let booked = { characters: 0, rounds: 0 };

function onStatus(status: Status): void {
  if (status.characters > booked.characters) {
    credit = store.earn(status.characters - booked.characters, status.rounds - booked.rounds);
    booked = { characters: status.characters, rounds: status.rounds };
  }
  if (status.misses === 0) isBlocked = false;
  if (status.misses === SUSPICIOUS_MISSES && status.phase.at === 'reconnecting') void suspectBlocking();
  redrawSoon();
}

async function suspectBlocking(): Promise<void> {
  isBlocked = await isReachable();
  redrawSoon();
}

let redrawing = false;

/** Once a frame at most; in a hidden page, where there are no frames, not at all until it is seen. */
function redrawSoon(): void {
  if (redrawing) return;
  redrawing = true;
  requestAnimationFrame(() => {
    redrawing = false;
    redraw();
  });
}

function redraw(): void {
  const { status, isOn } = session;
  wakeLock.want(isOn && terms.keepAwake && status.phase.at !== 'paused');
  draw({
    ...{ language, terms, status, isOn, facts, credit, isBlocked },
    obstacle: obstacle(host, invitation.token),
    host: new URL(invitation.origin).host,
    isSecure: isSecureContext,
  });
}

function applyTerms(next: Terms): void {
  terms = next;
  store.keepTerms(terms);
  session.setShare(terms.share / 100);
  session.note({
    capBytes: terms.capMb * 1e6,
    pauseOnBattery: terms.pauseOnBattery,
    pauseWhenHidden: terms.pauseWhenHidden,
  });
  redrawSoon();
}

function readForm(): Terms {
  const { name, share, cap, pauseOnBattery, pauseWhenHidden, keepAwake } = elements;
  return {
    name: name.value,
    share: Number(share.value),
    capMb: Number(cap.value),
    pauseOnBattery: pauseOnBattery.checked,
    pauseWhenHidden: pauseWhenHidden.checked,
    keepAwake: keepAwake.checked,
  };
}

function fillForm(): void {
  elements.name.value = terms.name;
  elements.share.value = String(terms.share);
  elements.pauseOnBattery.checked = terms.pauseOnBattery;
  elements.pauseWhenHidden.checked = terms.pauseWhenHidden;
  elements.keepAwake.checked = terms.keepAwake;
  show(byId('awake-field', HTMLElement), wakeLock.isOffered);
  // Known at once, so that nothing moves later when the battery has answered.
  show(byId('battery-field', HTMLElement), 'getBattery' in navigator);
}

function start(): void {
  session.start();
  redraw();
  // The button that had the focus is gone.
  elements.state.focus();
}

function togglePause(): void {
  const { phase } = session.status;
  session.note({ pausedByPerson: !(phase.at === 'paused' && phase.why === 'person') });
}

function listen(): void {
  elements.form.addEventListener('input', () => applyTerms(readForm()));
  elements.form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (!session.isOn && obstacle(host, invitation.token) === undefined) start();
  });
  elements.again.addEventListener('click', start);
  elements.pause.addEventListener('click', togglePause);
  elements.leave.addEventListener('click', () => {
    session.leave();
    redraw();
    byId('start', HTMLButtonElement).focus();
  });
  elements.forget.addEventListener('click', () => {
    credit = store.forgetCredit();
    redrawSoon();
  });
  elements.language.addEventListener('change', () => {
    language = chooseLanguage(elements.language.value, []);
    store.keepLanguage(language);
    redrawSoon();
  });
}

async function watch(): Promise<void> {
  watchVisibility((hidden) => session.note({ hidden }));
  watchNetwork(Date.now, (reason) => session.reconnect(reason));
  watchRun(invitation, (news) => {
    facts = news;
    redrawSoon();
  });
  show(byId('battery-field', HTMLElement), await watchBattery((battery) => session.note({ battery })));
}

redraw();
fillForm();
applyTerms(terms);
listen();
void watch();
