/** Draws the page from a scene; decides nothing. */
import { sentence } from '@troupe/protocol/text';
import { explainDirect } from '../decisions/direct.js';
import { estimateTraffic } from '../decisions/traffic.js';
import type { Credit } from '../decisions/credit.js';
import { USUAL_BYTES, type RunFacts } from '../decisions/run-facts.js';
import { finishOf, shareOf, type RunCredit } from '../decisions/finish.js';
import { isHeldByRun, isRunOver, type Status } from '../decisions/status.js';
import { CAPS_MB, type Settings } from '../decisions/settings.js';
import { LANGUAGES, TEXTS, type Language, type Texts } from '../texts.js';
import { drawCurve } from './curve.js';
import { byId, element, setText, show } from './dom.js';
import { createNumbers, type Numbers } from './numbers.js';

export interface Scene {
  readonly language: Language;
  readonly settings: Settings;
  readonly status: Status;
  /** The session is started and has not ended; it may be paused. */
  readonly isOn: boolean;
  readonly facts: RunFacts | undefined;
  readonly credit: Credit;
  readonly runCredit: RunCredit | undefined;
  /** Why this browser cannot take part: a code that texts.ts explains. */
  readonly obstacle: string | undefined;
  /** HTTP works, but WebSockets do not. */
  readonly isBlocked: boolean;
  readonly host: string;
  /** False: the browser gives this page no threads and no GPU. */
  readonly isSecure: boolean;
}

export interface Elements {
  readonly language: HTMLSelectElement;
  readonly form: HTMLFormElement;
  readonly name: HTMLInputElement;
  readonly share: HTMLInputElement;
  readonly cap: HTMLSelectElement;
  readonly pauseOnBattery: HTMLInputElement;
  readonly pauseWhenHidden: HTMLInputElement;
  readonly keepAwake: HTMLInputElement;
  readonly directLinks: HTMLInputElement;
  readonly pause: HTMLButtonElement;
  readonly leave: HTMLButtonElement;
  readonly again: HTMLButtonElement;
  readonly resetCredit: HTMLButtonElement;
  readonly state: HTMLElement;
}

export function findElements(): Elements {
  return {
    language: byId('language', HTMLSelectElement),
    form: byId('settings', HTMLFormElement),
    name: byId('name', HTMLInputElement),
    share: byId('share', HTMLInputElement),
    cap: byId('cap', HTMLSelectElement),
    pauseOnBattery: byId('pause-on-battery', HTMLInputElement),
    pauseWhenHidden: byId('pause-when-hidden', HTMLInputElement),
    keepAwake: byId('keep-awake', HTMLInputElement),
    directLinks: byId('direct-links', HTMLInputElement),
    pause: byId('pause', HTMLButtonElement),
    leave: byId('leave', HTMLButtonElement),
    again: byId('again', HTMLButtonElement),
    resetCredit: byId('forget', HTMLButtonElement),
    state: html('state'),
  };
}

const html = (id: string): HTMLElement => byId(id, HTMLElement);

export function draw(scene: Scene): void {
  const texts = TEXTS[scene.language];
  const numbers = createNumbers(scene.language);
  drawWords(scene, texts);
  drawProblem(scene, texts);
  drawSession(scene, texts, numbers);
  drawSettings(scene, texts, numbers);
  drawFacts(scene, texts, numbers);
  drawCredit(scene, texts, numbers);
}

/** The language of the fixed texts that are drawn. */
let drawnLanguage: Language | undefined;

function drawWords({ language, facts, status }: Scene, texts: Texts): void {
  const isComplete = finishOf(status, facts) === 'completed';
  setText(html('title'), titleOf(facts?.name, isComplete, texts));
  show(html('lead'), !isComplete);
  if (drawnLanguage === language) return;
  drawnLanguage = language;
  document.documentElement.lang = language;
  document.title = texts.documentTitle;
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
  const { status, isOn } = scene;
  const finish = finishOf(status, scene.facts);
  show(html('session'), isOn || status.phase.at === 'over' || finish !== undefined);
  // Who comes after the end has computed nothing in this session.
  show(html('stats'), finish === undefined || status.characters > 0);
  setText(html('state'), phaseText(scene, texts));
  drawNotice(scene, texts, numbers);
  const { charsPerSecond, round, characters, sentBytes, receivedBytes } = status;
  setText(html('stat-speed'), charsPerSecond === undefined ? '–' : texts.charsPerSecond(numbers.short(charsPerSecond)));
  setText(html('stat-round'), round === undefined ? '–' : numbers.whole(round));
  setText(html('stat-session'), numbers.short(characters));
  setText(html('stat-traffic'), `${numbers.bytes(sentBytes)} / ${numbers.bytes(receivedBytes)}`);
  const isPaused = status.phase.at === 'paused' && status.phase.why === 'person';
  setText(html('pause'), isPaused ? texts.resume : texts.pause);
  show(html('pause'), isOn);
  show(html('leave'), isOn);
  show(html('closing'), isOn);
  drawDirect(scene, texts, numbers);
  drawEngine(scene, texts, numbers);
}

function phaseText({ status, facts, language }: Scene, texts: Texts): string {
  const { phase } = status;
  const finish = finishOf(status, facts);
  if (finish !== undefined) return texts.over[finish];
  if (isHeldByRun(status, facts)) return texts.phase.runPaused;
  switch (phase.at) {
    case 'paused':
      return texts.paused[phase.why];
    case 'reconnecting':
      return texts.phase.reconnecting(new Intl.NumberFormat(language).format(Math.ceil(phase.retryInMs / 1000)));
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

/** Before the start, settings come first; after it, what the run is doing. */
function placeLive(isOn: boolean): void {
  const live = html('live');
  const before = html(isOn ? 'session' : 'settings');
  if (live.previousElementSibling !== before) before.after(live);
}

function drawSettings({ settings, isOn, obstacle, language, status, facts }: Scene, texts: Texts, numbers: Numbers): void {
  const isOver = finishOf(status, facts) === 'completed' && !isOn;
  placeLive(isOn || isOver);
  show(html('invite'), !isOn && !isOver);
  show(html('settings'), !isOver);
  show(html('name-field'), !isOn);
  show(html('start'), !isOn);
  byId('start', HTMLButtonElement).disabled = obstacle !== undefined;
  const share = byId('share', HTMLInputElement);
  const value = texts.shareValue(String(settings.share));
  setText(html('share-value'), value);
  if (share.getAttribute('aria-valuetext') !== value) share.setAttribute('aria-valuetext', value);
  const cap = byId('cap', HTMLSelectElement);
  if (cap.lang === language) return;
  cap.lang = language;
  const options = [0, ...CAPS_MB].map((mb) =>
    Object.assign(element('option', mb === 0 ? texts.capNone : numbers.bytes(mb * 1e6)), { value: String(mb) }),
  );
  cap.replaceChildren(...options);
  cap.value = String(settings.capMb);
}

function drawFacts({ facts, host, language, status, settings }: Scene, texts: Texts, numbers: Numbers): void {
  const parameters = facts?.parameters ?? status.parameters;
  const roundsPerHour = facts?.roundMs === undefined ? undefined : 3_600_000 / facts.roundMs;
  const traffic =
    parameters === undefined
      ? undefined
      : estimateTraffic({ parameters, exchangedBytes: facts?.exchangedBytes ?? USUAL_BYTES, roundsPerHour });
  const { roundBytes, hourBytes } = traffic ?? {};
  setText(
    html('what-traffic'),
    roundBytes === undefined
      ? texts.whatTrafficUnknown
      : texts.whatTraffic(numbers.bytes(roundBytes), hourBytes === undefined ? undefined : numbers.bytes(hourBytes)),
  );
  const { organizer } = facts ?? {};
  const who = organizer === undefined ? texts.whatOrganizerUnknown : texts.whatOrganizer(organizer);
  setText(html('what-organizer'), `${who}${settings.directLinks ? texts.whatGoesDirect(host) : texts.whatGoes(host)}`);
  setText(html('run-title'), facts?.name ?? texts.progress);
  drawList(html('facts'), factLines(facts, host, texts, numbers));
  // Empty frames would only push the text down.
  show(html('live-parts'), facts !== undefined && (facts.sample !== undefined || facts.losses.length > 1));
  if (facts) drawLive(facts, language, texts, numbers);
}

function factLines(facts: RunFacts | undefined, host: string, texts: Texts, numbers: Numbers): [string, string][] {
  const lines: [string, string | undefined][] = [
    [texts.organizer, facts?.organizer ?? texts.organizerHost(host)],
    [texts.model, facts?.model],
    [texts.corpus, facts?.corpus],
    [
      texts.progress,
      facts?.round === undefined || facts.rounds === undefined
        ? undefined
        : texts.roundOf(numbers.whole(facts.round), numbers.whole(facts.rounds), facts.phase && texts.runPhases[facts.phase]),
    ],
    [texts.workers, facts?.workers === undefined ? undefined : numbers.whole(facts.workers)],
  ];
  return lines.filter((line): line is [string, string] => line[1] !== undefined);
}

/** Changes only what differs from the list as it is. */
function drawList(list: HTMLElement, lines: readonly (readonly [string, string])[]): void {
  if (list.children.length !== lines.length) {
    list.replaceChildren(
      ...lines.map(() => {
        const row = document.createElement('div');
        row.append(document.createElement('dt'), document.createElement('dd'));
        return row;
      }),
    );
  }
  lines.forEach(([term, text], i) => {
    const [dt, dd] = list.children[i].children;
    setText(dt, term);
    setText(dd, text);
  });
}

/** What the curve shows: it is drawn again only when that changes. */
let drawn = '';

function drawLive({ sample, losses, validation, chance }: RunFacts, language: Language, texts: Texts, numbers: Numbers): void {
  setText(html('sample'), sample?.text ?? texts.sampleNone);
  setText(html('sample-round'), sample?.round === undefined ? '' : texts.sampleAt(numbers.whole(sample.round)));
  const width = html('curve').clientWidth;
  const key = `${language} ${width} ${losses.length} ${losses.at(-1)?.[0]} ${validation.length}`;
  if (key === drawn) return;
  drawn = key;
  const [first, last] = [losses.at(0), losses.at(-1)];
  const summary = first && last && texts.curveSummary(numbers.loss(first[1]), numbers.loss(last[1]), numbers.whole(last[0]));
  const words = { summary: summary ?? '', number: numbers.loss, round: numbers.whole };
  const curve = drawCurve(losses, validation, chance, width, words);
  show(html('curve-hint'), curve !== undefined);
  html('curve').replaceChildren(curve ?? element('p', texts.curveNone));
}

function drawCredit({ credit, settings }: Scene, texts: Texts, numbers: Numbers): void {
  show(html('credit'), credit.characters > 0);
  const name = settings.name.trim() || texts.anonymous;
  setText(html('credit-text'), texts.creditOf(name, numbers.whole(credit.characters), numbers.whole(credit.rounds)));
}
