/** Draws what the coordinator says of its run. */
import { finishOf } from '../decisions/finish.js';
import { isHandheld } from '../decisions/device.js';
import { USUAL_EXCHANGE, type RunFacts } from '../decisions/run-facts.js';
import { assumedRoundMs, estimateTraffic, type RoundPace, type TrafficEstimate } from '../decisions/traffic.js';
import type { Language, Texts } from '../texts.js';
import { drawCurve } from './curve.js';
import { byId, element, html, setText, show } from './dom.js';
import type { Numbers } from './numbers.js';
import type { Scene } from './scene.js';

/** @returns undefined while nobody has said how large the model is */
export function trafficOf(scene: Scene): TrafficEstimate | undefined {
  const { facts, status, isOn, settings } = scene;
  const parameters = facts?.parameters ?? status.parameters;
  if (parameters === undefined) return undefined;
  const workers = Math.max(1, (facts?.workers ?? 0) + (isOn ? 0 : 1));
  const exchange = facts?.exchange ?? USUAL_EXCHANGE;
  return estimateTraffic({
    parameters,
    exchange,
    workers,
    pace: paceOf(scene, parameters, workers),
    rateMbit: settings.rateMbit,
  });
}

function paceOf({ facts, roundMs, device, settings, status }: Scene, parameters: number, workers: number): RoundPace | undefined {
  const measuredMs = roundMs ?? facts?.roundMs;
  if (measuredMs !== undefined) return { roundMs: measuredMs, basis: 'run' };
  const speed = { isHandheld: isHandheld(device), share: settings.share / 100, charsPerSecond: status.known?.charsPerSecond };
  const assumedMs = facts && assumedRoundMs(facts, parameters, workers, speed);
  return assumedMs === undefined ? undefined : { roundMs: assumedMs, basis: 'device' };
}

/** "About 1.2 GB of data an hour, ..." */
export function hourText(estimate: TrafficEstimate | undefined, texts: Texts, numbers: Numbers): string {
  if (estimate === undefined) return texts.hourUnknown;
  const { hour, sentBytes, receivedBytes } = estimate;
  return hour ? texts.hour(numbers.about(hour.bytes), hour.basis) : texts.hourOfRound(numbers.about(sentBytes + receivedBytes));
}

export function drawRun(scene: Scene, texts: Texts, numbers: Numbers): void {
  const { facts, host, language, settings } = scene;
  setText(html('what-traffic'), trafficText(trafficOf(scene), texts, numbers));
  const { organizer } = facts ?? {};
  const who = organizer === undefined ? texts.whatOrganizerUnknown : texts.whatOrganizer(organizer);
  setText(html('what-organizer'), `${who}${settings.directLinks ? texts.whatGoesDirect(host) : texts.whatGoes(host)}`);
  setText(html('run-title'), facts?.name ?? texts.progress);
  drawList(html('facts'), factLines(facts, host, texts, numbers));
  drawNow(scene, texts, numbers);
  // An empty frame would only push the text down.
  show(html('live-parts'), facts !== undefined && facts.losses.length > 1);
  if (facts) drawLoss(facts, language, texts, numbers);
}

function trafficText(estimate: TrafficEstimate | undefined, texts: Texts, numbers: Numbers): string {
  if (estimate === undefined) return texts.whatTrafficUnknown;
  const { sentBytes, receivedBytes, joinBytes, hour } = estimate;
  return texts.whatTraffic(
    numbers.about(sentBytes),
    numbers.about(receivedBytes),
    numbers.about(joinBytes),
    hour && numbers.about(hour.bytes),
  );
}

/** What the model writes, and how far the run is. */
function drawNow({ facts, status }: Scene, texts: Texts, numbers: Numbers): void {
  const { sample, round, rounds, workers } = facts ?? {};
  setText(html('sample'), sample?.text ?? texts.sampleNone);
  setText(html('sample-round'), sample?.round === undefined ? '' : texts.sampleAt(numbers.whole(sample.round)));
  const progress = byId('progress', HTMLProgressElement);
  progress.value = round === undefined || !rounds ? 0 : Math.min(1, round / rounds);
  setText(html('progress-text'), progressText(facts, texts, numbers) ?? texts.progressNone);
  const isOver = finishOf(status, facts) !== undefined;
  setText(html('helping'), workers === undefined || isOver ? '' : texts.helping(numbers.whole(workers)));
}

function progressText(facts: RunFacts | undefined, texts: Texts, numbers: Numbers): string | undefined {
  if (facts?.round === undefined || facts.rounds === undefined) return undefined;
  return texts.roundOf(numbers.whole(facts.round), numbers.whole(facts.rounds), facts.phase && texts.runPhases[facts.phase]);
}

function factLines(facts: RunFacts | undefined, host: string, texts: Texts, numbers: Numbers): [string, string][] {
  const lines: [string, string | undefined][] = [
    [texts.organizer, facts?.organizer ?? texts.organizerHost(host)],
    [texts.model, facts?.model],
    [texts.corpus, facts?.corpus],
    [texts.progress, progressText(facts, texts, numbers)],
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

function drawLoss({ losses, validation, chance }: RunFacts, language: Language, texts: Texts, numbers: Numbers): void {
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
