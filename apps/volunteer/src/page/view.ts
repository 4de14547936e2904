/** Draws the page from a scene; decides nothing. */
import { sentence } from '@troupe/protocol/text';
import { explainDirect } from '../decisions/direct.js';
import { finishOf, shareOf } from '../decisions/finish.js';
import { iconAddress, iconState } from '../decisions/icon.js';
import { capMbOf, usualCapMb } from '../decisions/device.js';
import { LIMITS_MB, RATES_MBIT } from '../decisions/settings.js';
import { speedOf } from '../decisions/speed.js';
import { isHeldByRun, isRunOver } from '../decisions/status.js';
import { needsConsent } from '../decisions/traffic.js';
import { LANGUAGES, TEXTS, type Language, type Texts } from '../texts.js';
import { drawBoard } from './board.js';
import { byId, element, html, setText, show } from './dom.js';
import { drawKeepsakes } from './keepsakes.js';
import { createNumbers, type Numbers } from './numbers.js';
import { drawRun, hourText, trafficOf } from './run.js';
import type { Scene } from './scene.js';

export interface Elements {
  readonly language: HTMLSelectElement;
  readonly form: HTMLFormElement;
  readonly name: HTMLInputElement;
  readonly team: HTMLInputElement;
  readonly showName: HTMLInputElement;
  readonly share: HTMLInputElement;
  readonly cap: HTMLSelectElement;
  readonly rate: HTMLSelectElement;
  readonly consent: HTMLInputElement;
  readonly pauseOnBattery: HTMLInputElement;
  readonly pauseWhenHidden: HTMLInputElement;
  readonly keepAwake: HTMLInputElement;
  readonly directLinks: HTMLInputElement;
  readonly pause: HTMLButtonElement;
  readonly finish: HTMLButtonElement;
  readonly leave: HTMLButtonElement;
  readonly card: HTMLButtonElement;
  readonly home: HTMLButtonElement;
  readonly again: HTMLButtonElement;
  readonly resetCredit: HTMLButtonElement;
  readonly state: HTMLElement;
}

export function findElements(): Elements {
  return {
    language: byId('language', HTMLSelectElement),
    form: byId('settings', HTMLFormElement),
    name: byId('name', HTMLInputElement),
    team: byId('team', HTMLInputElement),
    showName: byId('show-name', HTMLInputElement),
    share: byId('share', HTMLInputElement),
    cap: byId('cap', HTMLSelectElement),
    rate: byId('rate', HTMLSelectElement),
    consent: byId('consent', HTMLInputElement),
    pauseOnBattery: byId('pause-on-battery', HTMLInputElement),
    pauseWhenHidden: byId('pause-when-hidden', HTMLInputElement),
    keepAwake: byId('keep-awake', HTMLInputElement),
    directLinks: byId('direct-links', HTMLInputElement),
    pause: byId('pause', HTMLButtonElement),
    finish: byId('finish', HTMLButtonElement),
    leave: byId('leave', HTMLButtonElement),
    card: byId('card', HTMLButtonElement),
    home: byId('home', HTMLButtonElement),
    again: byId('again', HTMLButtonElement),
    resetCredit: byId('forget', HTMLButtonElement),
    state: html('state'),
  };
}

export function draw(scene: Scene): void {
  const texts = TEXTS[scene.language];
  const numbers = createNumbers(scene.language);
  drawWords(scene, texts);
  drawProblem(scene, texts);
  drawSession(scene, texts, numbers);
  drawStats(scene, texts, numbers);
  drawCost(scene, texts, numbers);
  drawSettings(scene, texts, numbers);
  drawRun(scene, texts, numbers);
  drawBoard(scene, texts, numbers);
  drawKeepsakes(scene, texts);
  drawCredit(scene, texts, numbers);
}

/** The language of the fixed texts that are drawn. */
let drawnLanguage: Language | undefined;

function drawWords(scene: Scene, texts: Texts): void {
  const { language, facts, status, isOn } = scene;
  const isComplete = finishOf(status, facts) === 'completed';
  const title = titleOf(facts?.name, isComplete, texts);
  setText(html('title'), title);
  show(html('lead'), !isComplete && !isOn);
  drawTab(scene, title, texts);
  if (drawnLanguage === language) return;
  drawnLanguage = language;
  document.documentElement.lang = language;
  for (const node of document.querySelectorAll('[data-text]')) {
    const text = texts[node.getAttribute('data-text') as keyof Texts];
    if (typeof text === 'string') setText(node, text);
  }
  const select = byId('language', HTMLSelectElement);
  select.replaceChildren(
    ...Object.entries(LANGUAGES).map(([code, name]) => Object.assign(element('option', name), { value: code, lang: code })),
  );
  select.value = language;
}

/** Title and icon of the tab say what this device is doing while the volunteer looks at other pages. */
function drawTab({ status, facts, obstacle }: Scene, title: string, texts: Texts): void {
  const state = iconState(status, facts, obstacle !== undefined);
  const shown = state === 'idle' ? title : texts.tabTitle(texts.tab[state], title);
  if (document.title !== shown) document.title = shown;
  const icon = byId('icon', HTMLLinkElement);
  const address = iconAddress(state);
  if (icon.href !== address) icon.href = address;
}

function titleOf(name: string | undefined, isComplete: boolean, texts: Texts): string {
  if (isComplete) return name === undefined ? texts.titleFinished : texts.titleFinishedNamed(name);
  return name === undefined ? texts.title : texts.titleNamed(name);
}

function drawProblem({ status, facts, obstacle }: Scene, texts: Texts): void {
  const { phase } = status;
  const isFinished = finishOf(status, facts) !== undefined;
  const failure = phase.at === 'failed' ? phase.failure : undefined;
  // What is needed to compute does not matter any more.
  const code = isFinished ? undefined : (obstacle ?? failure?.code);
  show(html('problem'), code !== undefined);
  if (code === undefined) return;
  // Not `in` or a plain lookup: the code comes from outside.
  const known = Object.hasOwn(texts.failures, code) ? texts.failures[code] : undefined;
  const { title, what } = known ?? texts.failureOther;
  setText(html('problem-title'), title);
  setText(html('problem-what'), what);
  // In English; known failures are explained in the volunteer's language.
  setText(html('problem-detail'), failure && !known ? `${sentence(failure.message)} ${failure.remedy}` : '');
  show(html('again'), failure !== undefined);
}

function drawSession(scene: Scene, texts: Texts, numbers: Numbers): void {
  const { status, isOn, facts, obstacle } = scene;
  const finish = finishOf(status, facts);
  const isRunning = isOn && finish === undefined;
  show(html('session'), isOn || status.phase.at === 'over' || finish !== undefined);
  setText(html('state'), phaseText(scene, texts));
  drawNotice(scene, texts, numbers);
  setText(html('pause'), pauseText(scene, texts, numbers));
  show(html('pause'), isRunning && !status.isFinishing);
  show(html('finish'), isRunning && status.phase.at === 'computing' && !status.isFinishing);
  show(html('leave'), isOn);
  show(html('closing'), isOn);
  show(html('start'), !isOn && finish !== 'completed');
  const asks = !isOn && finish === undefined && needsConsent(trafficOf(scene));
  show(html('consent-field'), asks);
  const isHeld = obstacle !== undefined || (asks && !scene.consents);
  for (const id of ['start', 'again']) byId(id, HTMLButtonElement).disabled = isHeld;
  drawDirect(scene, texts, numbers);
  drawEngine(scene, texts, numbers);
}

function pauseText({ status: { phase }, settings, device }: Scene, texts: Texts, numbers: Numbers): string {
  if (phase.at !== 'paused') return texts.pause;
  if (phase.why === 'cap') return texts.goOn(numbers.bytes(capMbOf(settings, device) * 1e6));
  return phase.why === 'person' ? texts.resume : texts.pause;
}

function drawStats({ status, isOn }: Scene, texts: Texts, numbers: Numbers): void {
  const { speed, round, characters, sentBytes, receivedBytes } = status;
  // Who comes after the end has computed nothing in this session.
  show(html('stats'), isOn || characters > 0);
  const perSecond = speedOf(speed);
  setText(html('stat-speed'), perSecond === undefined ? '–' : texts.charsPerSecond(numbers.short(perSecond)));
  setText(html('stat-round'), round === undefined ? '–' : numbers.whole(round));
  setText(html('stat-session'), numbers.short(characters));
  setText(html('stat-traffic'), `${numbers.bytes(sentBytes)} / ${numbers.bytes(receivedBytes)}`);
}

/** What it costs stands beside the button, before it is pressed and after. */
function drawCost(scene: Scene, texts: Texts, numbers: Numbers): void {
  const { host, settings, isOn, status, facts } = scene;
  const isOver = finishOf(status, facts) !== undefined;
  // On standby no gradients and no updates travel.
  show(html('hour'), !isOver && status.phase.at !== 'parked');
  show(html('offer'), !isOn && !isOver);
  setText(html('hour'), hourText(trafficOf(scene), texts, numbers));
  setText(html('offer-uses'), texts.offerUses(numbers.percent(settings.share / 100)));
  setText(html('offer-sends'), settings.directLinks ? texts.offerSendsDirect(host) : texts.offerSends(host));
}

function phaseText({ status, facts, language }: Scene, texts: Texts): string {
  const { phase } = status;
  const finish = finishOf(status, facts);
  if (finish !== undefined) return texts.over[finish];
  if (isHeldByRun(status, facts)) return texts.phase.runPaused;
  if (status.isFinishing) return texts.phase.finishing;
  switch (phase.at) {
    case 'paused':
      return texts.paused[phase.why];
    case 'reconnecting':
      return texts.phase.reconnecting(new Intl.NumberFormat(language).format(Math.ceil(phase.retryInMs / 1000)));
    case 'computing':
      if (phase.part === undefined) return texts.phase.computing;
      return texts.phase.computingPart(new Intl.NumberFormat(language, { style: 'percent' }).format(phase.part));
    case 'failed':
      return '';
    case 'over':
      return texts.over.dismissed;
    default:
      return texts.phase[phase.at];
  }
}

function drawNotice(scene: Scene, texts: Texts, numbers: Numbers): void {
  const { phase } = scene.status;
  const place = html('notice');
  // The coordinator's own reason, in English; for the other ends the page has texts.
  const words = phase.at === 'over' && !isRunOver(scene.status) && scene.facts?.phase !== 'over' ? phase.reason : undefined;
  if (words === undefined) place.removeAttribute('lang');
  else place.lang = 'en';
  setText(place, words ?? notice(scene, texts, numbers));
}

function notice(scene: Scene, texts: Texts, numbers: Numbers): string {
  const { status, facts, runCredit, isBlocked } = scene;
  const { share } = scene.settings;
  const { heatFactor, phase } = status;
  if (facts && finishOf(status, facts) !== undefined) {
    const part = runCredit && shareOf(runCredit, facts);
    return part === undefined ? '' : texts.computedShare(numbers.percent(part));
  }
  if (isBlocked && phase.at === 'reconnecting') return texts.blocked;
  return heatFactor < 1 ? texts.heat(String(Math.round(share * heatFactor))) : '';
}

function drawDirect({ status: { direct } }: Scene, texts: Texts, numbers: Numbers): void {
  show(html('direct'), direct !== undefined);
  if (!direct) return;
  const outcome = explainDirect(direct);
  setText(
    html('direct'),
    typeof outcome === 'number' ? texts.directLinked(outcome, numbers.whole(outcome)) : texts.direct[outcome],
  );
}

function drawEngine({ status, isSecure }: Scene, texts: Texts, numbers: Numbers): void {
  const { engine, variant, trials, threads } = status;
  show(html('engine'), engine !== undefined);
  if (engine === undefined) return;
  const count = engine === 'wasm-threads' && threads !== undefined ? ` × ${threads}` : '';
  setText(html('engine-name'), `${texts.engines[engine]}${count}`);
  const lines = trials.map(({ name, charsPerSecond }) =>
    charsPerSecond === undefined
      ? texts.trialFailed(texts.engines[name])
      : texts.trial(texts.engines[name], texts.charsPerSecond(numbers.short(charsPerSecond))),
  );
  replaceList(html('engine-trials'), [...lines, variant ?? '']);
  // Where no engine was tried, HTTPS would change nothing.
  show(html('insecure'), !isSecure && trials.length > 0);
}

function replaceList(list: HTMLElement, lines: readonly string[]): void {
  const same = list.children.length === lines.length && lines.every((line, i) => list.children[i].textContent === line);
  if (!same) list.replaceChildren(...lines.map((line) => element('li', line)));
}

function drawSettings({ settings, isOn, status, facts, device }: Scene, texts: Texts, numbers: Numbers): void {
  const isOver = finishOf(status, facts) === 'completed' && !isOn;
  show(html('invite'), !isOn && !isOver);
  show(html('settings'), !isOver);
  show(html('name-field'), !isOn);
  const share = byId('share', HTMLInputElement);
  const value = texts.shareValue(String(settings.share));
  setText(html('share-value'), value);
  if (share.getAttribute('aria-valuetext') !== value) share.setAttribute('aria-valuetext', value);
  const sizes = LIMITS_MB.map((mb): Option => [String(mb), numbers.bytes(mb * 1e6)]);
  const usual = texts.capUsual(numbers.bytes(usualCapMb(device) * 1e6));
  drawOptions('cap', [['', usual], ...sizes, ['0', texts.capNone]], settings.limitMb);
  const rates = RATES_MBIT.map((mbit): Option => [String(mbit), texts.rateValue(numbers.whole(mbit))]);
  drawOptions('rate', [['0', texts.rateNone], ...rates], settings.rateMbit);
}

type Option = readonly [value: string, text: string];

/** An open list stays as it is while nothing in it changes. */
function drawOptions(id: string, options: readonly Option[], value: number | undefined): void {
  const select = byId(id, HTMLSelectElement);
  if (options.every(([, text], i) => select.options[i]?.text === text)) return;
  select.replaceChildren(...options.map(([option, text]) => Object.assign(element('option', text), { value: option })));
  select.value = String(value ?? '');
}

function drawCredit({ credit, settings }: Scene, texts: Texts, numbers: Numbers): void {
  show(html('credit'), credit.characters > 0);
  const name = settings.name.trim() || texts.anonymous;
  setText(html('credit-text'), texts.creditOf(name, numbers.whole(credit.characters), numbers.whole(credit.rounds)));
}
