/** The runs of the folder, and the curves of the selected ones in one chart. */
import { lossOf, type PastRun } from '@troupe/run';
import { NOTHING } from '../reading/format.js';
import { align } from '../reading/curves.js';
import { runLabel } from '../reading/runs.js';
import type { DashboardState } from '../state/state.js';
import { createChartGroup } from '../chart/chart.js';
import type { SeriesSpec } from '../chart/spec.js';
import { make, setAttribute, setText, the } from './dom.js';
import { changed, type Page, type Panel } from './page.js';

/** The number of colours that are easy to distinguish. */
const COLOURS = 6;
/** The number of runs that are selected at first. */
const COMPARED_AT_FIRST = 3;

export const runColour = (index: number): string => `--series-${(index % COLOURS) + 1}`;

export function createRuns(page: Page): Panel {
  /** Folders in the order in which they were selected, so that each keeps its colour. */
  let selected: string[] | undefined;
  const loss = (n: number): string => page.format.loss(n);
  const chart = createChartGroup({ words: page, name: 'runs' }).add({
    title: () => page.texts.runsTitle,
    unit: () => page.texts.lossUnit,
    xLabel: () => page.texts.round,
    height: 280,
    format: (n) => page.format.figure(n),
    log: false,
    series: [],
  });
  the('runs-chart').append(chart.root);

  return (state, before) => {
    if (!before) chart.refresh();
    if (changed(state, before, 'runs')) draw(state);
  };

  function draw({ runs }: DashboardState): void {
    const known = runs ?? [];
    if (!selected && known.length > 0) selected = known.slice(0, COMPARED_AT_FIRST).map(({ folder }) => folder);
    for (const id of ['runs-chart', 'runs-scroll']) the(id).hidden = known.length < 2;
    setText(the('runs-hint'), known.length > 1 ? page.texts.runsIntro : page.texts.runsNone);
    drawTable(page, known, selected ?? [], (folder, on) => {
      selected = (selected ?? []).filter((other) => other !== folder);
      if (on) selected.push(folder);
      draw(page.state);
    });
    const shown = (selected ?? []).flatMap((folder) => known.find((run) => run.folder === folder) ?? []);
    chart.replace(shown.flatMap((run, i) => curveSpecs(runLabel(run, known, page.texts.runCurrent), page, i, loss)));
    if (shown.length === 0) return;
    const plot = align(
      shown.flatMap(({ losses, evaluations }) => [
        { x: losses.round, curves: [losses.smoothedLoss] },
        { x: evaluations.map(({ round }) => round), curves: [evaluations.map(lossOf)] },
      ]),
    );
    chart.draw(plot, 0, Math.max(1, plot.x.at(-1) ?? 1));
  }
}

function curveSpecs(name: string, page: Page, index: number, format: (n: number) => string): SeriesSpec[] {
  const colour = runColour(index);
  return [
    { label: () => name, colour, format },
    { label: () => `${name}, ${page.texts.validation}`, colour, style: 'dashed', format },
  ];
}

function drawTable(
  page: Page,
  runs: readonly PastRun[],
  selected: readonly string[],
  onSelect: (folder: string, on: boolean) => void,
): void {
  const { texts } = page;
  const table = the('runs-table', HTMLTableElement);
  const focused = document.activeElement?.getAttribute('data-folder');
  setAttribute(the('runs-scroll'), 'aria-label', texts.runsTable);
  const heads = ['', texts.runName, texts.runModel, texts.runCorpus, texts.runRounds, texts.runBest, texts.runStarted];
  const head = make('tr', {}, make('td'), ...heads.slice(1).map((text) => make('th', { text, scope: 'col' })));
  const rows = runs.map((run) => createRow(page, run, selected.indexOf(run.folder), onSelect));
  table.replaceChildren(make('thead', {}, head), make('tbody', {}, ...rows));
  for (const box of table.querySelectorAll('input')) if (box.dataset.folder === focused) box.focus();
}

function createRow(page: Page, run: PastRun, place: number, onSelect: (folder: string, on: boolean) => void): HTMLElement {
  const { texts, format } = page;
  const title = run.name || run.folder;
  const box = make('input', { type: 'checkbox', checked: place >= 0 });
  box.dataset.folder = run.folder;
  box.setAttribute('aria-label', texts.runShow(title));
  box.addEventListener('change', () => onSelect(run.folder, box.checked));
  const swatch = make('i', { className: 'swatch' });
  if (place >= 0) swatch.style.setProperty('--colour', `var(${runColour(place)})`);
  const name = make(
    'th',
    { scope: 'row' },
    swatch,
    make('span', { text: run.current ? `${title} (${texts.runCurrent})` : title }),
    ...(run.name && run.name !== run.folder ? [make('span', { className: 'hint folder', text: run.folder })] : []),
  );
  const cells = [
    run.model,
    run.corpus,
    `${format.whole(run.round)} / ${format.whole(run.rounds)}`,
    run.best ? format.loss(lossOf(run.best)) : NOTHING,
    format.date(run.startedAt),
  ];
  return make('tr', {}, make('td', {}, box), name, ...cells.map((text) => make('td', { text })));
}
