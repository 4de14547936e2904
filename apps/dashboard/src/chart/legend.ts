/** The words around a chart: its legend with values, its summary and its table. */
import { tableRows } from '../reading/curves.js';
import { make, setAttribute, setText } from '../page/dom.js';
import { valueText, type ChartSpec, type Shown, type Words } from './spec.js';

export interface Legend {
  readonly root: HTMLElement;
  /** Draws the labels, in the current language. */
  setTexts(shown: Shown): void;
  /** Shows the values at an index of x; without one, the latest. */
  read(shown: Shown, index: number | null | undefined): void;
}

export function createLegend(spec: ChartSpec, words: Words): Legend {
  const root = make('ul', { className: 'legend' });
  const x = make('li', { className: 'at' });
  let values: HTMLElement[] = [];
  return {
    root,
    setTexts({ series }) {
      values = series.map(() => make('b'));
      const entries = series.map(({ label, colour, style = 'line' }, i) => {
        const swatch = make('i', { className: `swatch ${style}` });
        swatch.style.setProperty('--colour', `var(${colour})`);
        return make('li', {}, swatch, make('span', { text: label() }), values[i]);
      });
      root.replaceChildren(...entries, x);
    },
    read({ series, plot }, index) {
      const row = index ?? plot.x.length - 1;
      series.forEach((entry, i) => setText(values[i], valueText(entry, plot.curves[i], row)));
      const at = index === null || index === undefined ? undefined : plot.x[index];
      setText(x, at === undefined ? '' : `${spec.xLabel()} ${xValue(spec, words, at)}`);
    },
  };
}

/** "Loss, round 1 to 1,200. training: from 4.2 to 1.6. …" */
export function summary(spec: ChartSpec, { series, plot, from, to }: Shown, words: Words): string {
  const { texts } = words;
  const parts = series.flatMap((entry, i) => {
    const first = plot.curves[i].findIndex((value) => value !== null);
    if (first < 0) return [];
    const ends = [first, plot.x.length - 1].map((index) => valueText(entry, plot.curves[i], index));
    return [texts.seriesSummary(entry.label(), ends[0], ends[1])];
  });
  const ends = [from, to].map((x) => xValue(spec, words, x));
  return texts.chartSummary(spec.title(), spec.xLabel(), ends[0], ends[1], parts.join(' '));
}

/** "round 12: training 2.31, validation 2.40" */
export function reading(spec: ChartSpec, { series, plot }: Shown, index: number, words: Words): string {
  const values = series.map((entry, i) => `${entry.label()} ${valueText(entry, plot.curves[i], index)}`);
  return `${spec.xLabel()} ${xValue(spec, words, plot.x[index])}: ${values.join(', ')}`;
}

const xValue = (spec: ChartSpec, { format }: Words, x: number): string => spec.xFormat?.(x) ?? format.whole(x);

const ROWS = 12;

export const FILE_FORMATS = ['png', 'svg', 'csv'] as const;
export type FileFormat = (typeof FILE_FORMATS)[number];

/** The chart's values in a dozen rows; filled only while it is open. */
export function createTable(
  spec: ChartSpec,
  words: Words,
  shown: () => Shown,
  save: (format: FileFormat) => void,
): { readonly root: HTMLElement; update(): void } {
  const title = make('summary');
  const buttons = FILE_FORMATS.map((format) => {
    const button = make('button', { type: 'button', className: 'small', text: format.toUpperCase() });
    button.addEventListener('click', () => save(format));
    return button;
  });
  const saveAs = make('span');
  const table = make('table');
  const scroll = make('div', { className: 'scroll', tabIndex: 0 }, table);
  scroll.setAttribute('role', 'region');
  const root = make('details', { className: 'values' }, title, make('p', { className: 'segments' }, saveAs, ...buttons), scroll);
  root.addEventListener('toggle', update);
  return { root, update };

  function update(): void {
    const { asTable } = words.texts;
    setText(title, asTable);
    setText(saveAs, words.texts.saveAs);
    buttons.forEach((button, i) =>
      setAttribute(button, 'aria-label', words.texts.saveChart(spec.title(), FILE_FORMATS[i].toUpperCase())),
    );
    setAttribute(scroll, 'aria-label', `${asTable}: ${spec.title()}`);
    if (root.open) fillTable(table, spec, shown(), words);
  }
}

function fillTable(table: HTMLElement, spec: ChartSpec, { series, plot, from, to }: Shown, words: Words): void {
  const inside = plot.x.flatMap((x, index) => (x >= from && x <= to ? [index] : []));
  const rows = tableRows(inside.length, ROWS).map((row) => {
    const index = inside[row];
    const cells = series.map((entry, i) => make('td', { text: valueText(entry, plot.curves[i], index) }));
    return make('tr', {}, make('th', { text: xValue(spec, words, plot.x[index]), scope: 'row' }), ...cells);
  });
  const heads = [spec.xLabel(), ...series.map(({ label }) => label())].map((text) => make('th', { text, scope: 'col' }));
  table.replaceChildren(make('thead', {}, make('tr', {}, ...heads)), make('tbody', {}, ...rows));
}
