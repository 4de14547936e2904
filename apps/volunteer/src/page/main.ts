/** The page: connects the volunteer's actions and the device's reports to a session, and draws the result. */
import type { CreditFacts } from '../decisions/board.js';
import { obstacle, SIMD_MODULE } from '../decisions/capability.js';
import { capMbOf } from '../decisions/device.js';
import { canSum } from '../decisions/direct.js';
import { readInvitation } from '../decisions/link.js';
import { factsAtEnd, type RunCredit } from '../decisions/finish.js';
import type { RunFacts } from '../decisions/run-facts.js';
import { observeRound, roundMsOf, type RoundWatch } from '../decisions/rounds.js';
import { isRunOver, type Status } from '../decisions/status.js';
import type { Settings } from '../decisions/settings.js';
import { needsConsent } from '../decisions/traffic.js';
import { createSession } from '../session.js';
import { chooseLanguage, TEXTS } from '../texts.js';
import { createWakeLock, readDevice, watchBattery, watchDevice, watchNetwork, watchVisibility } from './devices.js';
import { byId, show } from './dom.js';
import { saveCard, saveModel } from './keepsakes.js';
import { isReachable, watchCredits, watchModel, watchRun } from './live.js';
import { trafficOf } from './run.js';
import type { HomeState, Scene } from './scene.js';
import { store } from './store.js';
import { hasDirectLinks, openTrainer } from './trainer.js';
import { draw, findElements } from './view.js';

/** After this many failed attempts the page checks whether only WebSockets fail. */
const SUSPICIOUS_ATTEMPTS = 2;

const elements = findElements();
const invitation = readInvitation(location.href);
const wakeLock = createWakeLock();
const host = {
  webAssembly: typeof WebAssembly === 'object',
  simd: typeof WebAssembly === 'object' && WebAssembly.validate(SIMD_MODULE),
  workers: typeof Worker === 'function',
  webSockets: typeof WebSocket === 'function',
};

let language = chooseLanguage(store.language(), navigator.languages);
let settings = usable(store.settings());
let credit = store.credit();
let facts: RunFacts | undefined;
let rounds: RoundWatch = [];
let device = readDevice();
/** What this device has computed for the run of the facts. */
let runCredit: RunCredit | undefined;
let credits: CreditFacts | undefined;
let home: HomeState = 'absent';
let isBlocked = false;

const session = createSession({
  openTrainer: (onReport) => openTrainer(settings.directLinks ? { sums: mayHelpToSum() } : undefined, onReport),
  after(ms, action) {
    const timer = setTimeout(action, ms);
    return () => clearTimeout(timer);
  },
  introduction,
  onStatus,
});

function mayHelpToSum(): boolean {
  return canSum({ ...device, isRateLimited: settings.rateMbit > 0, threads: crossOriginIsolated });
}

/** A name that is not to be shown stays on this device. */
function introduction() {
  const { address, token, only } = invitation;
  const name = settings.showName ? settings.name.trim() : '';
  const shown = name === '' ? { name: TEXTS[language].anonymous } : { name, credited: { team: settings.team } };
  return { address, token, only, ...shown, known: session.status.known };
}

/** The part of the session's counts that is in the credit already, and in that of the run. */
let credited = { characters: 0, rounds: 0 };
let creditedToRun = 0;

function onStatus(status: Status): void {
  if (status.characters > credited.characters) {
    credit = store.addCredit(status.characters - credited.characters, status.rounds - credited.rounds);
    credited = { characters: status.characters, rounds: status.rounds };
  }
  creditRun();
  if (status.failedAttempts === 0) isBlocked = false;
  if (status.failedAttempts === SUSPICIOUS_ATTEMPTS && status.phase.at === 'reconnecting') void suspectBlocking();
  redrawSoon();
}

/** The facts say which run it is; what is computed before they come counts once they do. */
function creditRun(): void {
  const { runId } = facts ?? {};
  if (runId === undefined) return;
  const more = session.status.characters - creditedToRun;
  runCredit = more > 0 ? store.addRunCredit(runId, more) : store.runCredit(runId);
  creditedToRun += more;
}

async function suspectBlocking(): Promise<void> {
  isBlocked = await isReachable();
  redrawSoon();
}

let redrawing = false;

/** At most once a frame; a hidden page has no frames and is drawn when it is visible again. */
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
  wakeLock.setWanted(isOn && settings.keepAwake && status.phase.at !== 'paused');
  draw(scene());
}

function scene(): Scene {
  const { status, isOn } = session;
  return {
    ...{ language, settings, status, isOn, credit, runCredit, credits, home, isBlocked },
    facts: factsAtEnd(status, facts),
    ...{ roundMs: roundMsOf(rounds), device, consents: elements.consent.checked },
    obstacle: obstacle(host, invitation.token),
    host: new URL(invitation.base).host,
    isSecure: isSecureContext,
  };
}

/** Direct links may have been turned on before an extension or a setting took WebRTC from this browser. */
function usable(stored: Settings): Settings {
  return { ...stored, directLinks: stored.directLinks && hasDirectLinks };
}

/** @returns why the settings need another trainer; undefined: they do not */
function otherTrainerFor(before: Settings, next: Settings): string | undefined {
  if (next.directLinks !== before.directLinks) return `direct links were turned ${next.directLinks ? 'on' : 'off'}`;
  // A device whose links are slow does not sum for others.
  const isSlowed = next.rateMbit > 0 !== before.rateMbit > 0;
  return next.directLinks && isSlowed ? `the rate limit was turned ${next.rateMbit > 0 ? 'on' : 'off'}` : undefined;
}

function applySettings(next: Settings): void {
  const otherTrainer = otherTrainerFor(settings, next);
  settings = next;
  store.saveSettings(settings);
  session.setShare(settings.share / 100);
  session.setRate(settings.rateMbit);
  session.note({
    capBytes: capMbOf(settings, device) * 1e6,
    pauseOnBattery: settings.pauseOnBattery,
    pauseWhenHidden: settings.pauseWhenHidden,
  });
  if (otherTrainer !== undefined) session.restart(otherTrainer);
  redrawSoon();
}

function readForm(): Settings {
  const { name, team, showName, share, cap, rate, pauseOnBattery, pauseWhenHidden, keepAwake, directLinks } = elements;
  return {
    name: name.value,
    team: team.value,
    showName: showName.checked,
    share: Number(share.value),
    limitMb: cap.value === '' ? undefined : Number(cap.value),
    rateMbit: Number(rate.value),
    pauseOnBattery: pauseOnBattery.checked,
    pauseWhenHidden: pauseWhenHidden.checked,
    keepAwake: keepAwake.checked,
    directLinks: directLinks.checked,
  };
}

function fillForm(): void {
  elements.name.value = settings.name;
  elements.team.value = settings.team;
  elements.showName.checked = settings.showName;
  elements.share.value = String(settings.share);
  elements.pauseOnBattery.checked = settings.pauseOnBattery;
  elements.pauseWhenHidden.checked = settings.pauseWhenHidden;
  elements.keepAwake.checked = settings.keepAwake;
  elements.directLinks.checked = settings.directLinks;
  show(byId('direct-field', HTMLElement), hasDirectLinks);
  show(byId('awake-field', HTMLElement), wakeLock.isOffered);
  // Decided before the battery answers, so that nothing moves later.
  show(byId('battery-field', HTMLElement), 'getBattery' in navigator);
}

function mayStart(): boolean {
  const now = scene();
  return now.obstacle === undefined && (now.consents || !needsConsent(trafficOf(now)));
}

function start(): void {
  if (session.isOn || !mayStart()) return;
  session.start();
  redraw();
  // The button that had the focus is hidden now.
  elements.state.focus();
}

function togglePause(): void {
  const { phase } = session.status;
  if (phase.at === 'paused' && phase.why === 'cap') return session.goOn();
  session.note({ pausedByPerson: !(phase.at === 'paused' && phase.why === 'person') });
}

function listen(): void {
  elements.form.addEventListener('input', () => applySettings(readForm()));
  elements.form.addEventListener('submit', (event) => {
    event.preventDefault();
    start();
  });
  elements.consent.addEventListener('change', redrawSoon);
  elements.again.addEventListener('click', start);
  elements.pause.addEventListener('click', togglePause);
  elements.finish.addEventListener('click', () => {
    session.finish();
    redraw();
    // The button that had the focus is hidden now.
    elements.state.focus();
  });
  elements.leave.addEventListener('click', () => {
    session.leave();
    redraw();
    byId('start', HTMLButtonElement).focus();
  });
  byId('more', HTMLAnchorElement).addEventListener('click', (event) => {
    // Its address would replace the token in that of the page.
    event.preventDefault();
    byId('invite', HTMLElement).focus();
  });
  addEventListener('resize', redrawSoon);
  elements.card.addEventListener('click', () => saveCard(scene()));
  elements.home.addEventListener('click', () => void takeHome());
  elements.resetCredit.addEventListener('click', () => {
    credit = store.resetCredit();
    redrawSoon();
  });
  elements.language.addEventListener('change', () => {
    language = chooseLanguage(elements.language.value, []);
    store.saveLanguage(language);
    redrawSoon();
  });
}

async function takeHome(): Promise<void> {
  home = 'busy';
  redraw();
  home = (await saveModel(invitation)) ? 'offered' : 'failed';
  redrawSoon();
}

async function watch(): Promise<void> {
  watchVisibility((hidden) => session.note({ hidden }));
  watchDevice((news) => {
    device = news;
    applySettings(settings);
  });
  watchNetwork(Date.now, (reason) => session.reconnect(reason));
  watchRun(invitation, (news) => {
    // The run is resumed: the volunteer may help again.
    if (facts?.phase === 'over' && news.phase !== 'over' && isRunOver(session.status)) session.leave();
    facts = news;
    rounds = observeRound(rounds, news, performance.now());
    creditRun();
    redrawSoon();
  });
  watchCredits(invitation, (news) => {
    credits = news;
    redrawSoon();
  });
  watchModel(invitation, (isOffered) => {
    if (home === 'absent' && isOffered) home = 'offered';
    redrawSoon();
  });
  show(byId('battery-field', HTMLElement), await watchBattery((battery) => session.note({ battery })));
}

redraw();
fillForm();
applySettings(settings);
listen();
void watch();
