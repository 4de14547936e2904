/** The table of workers: a row for each, its cells changed in place. */
import type { WorkerView } from '@troupe/run';
import { firstDirection, ordered, SORT_KEYS, type Order, type SortKey } from '../reading/table.js';
import { NOTHING } from '../reading/format.js';
import { isAdmin, type DashboardState } from '../state/state.js';
import { make, setAttribute, setClass, setText, the } from './dom.js';
import { attempt, changed, type Page, type Panel } from './page.js';

interface Row {
  readonly root: HTMLTableRowElement;
  draw(worker: WorkerView, streams: number, admin: boolean, texts: boolean): void;
}

const NUMBERS: readonly SortKey[] = ['speed', 'share', 'latency', 'rounds', 'seen'];

export function createWorkers(page: Page): Panel {
  const rows = new Map<string, Row>();
  let order: Order = { by: 'name', ascending: true };
  const body = make('tbody');
  const head = createHead(page, (by) => {
    order = { by, ascending: order.by === by ? !order.ascending : firstDirection(by) };
    draw(page.state, false);
  });
  const table = the('workers-table');
  table.append(head.root, body);

  return (state, before) => {
    const admin = isAdmin(state);
    const texts = before === undefined || isAdmin(before) !== admin;
    if (texts) setAttribute(the('workers-scroll'), 'aria-label', page.texts.workersTable);
    if (texts || changed(state, before, 'view')) draw(state, texts);
  };

  function draw(state: DashboardState, texts: boolean): void {
    const { view } = state;
    if (!view) return;
    const admin = isAdmin(state);
    head.draw(order, admin);
    const sorted = ordered(view.workers, order);
    const present = new Set(sorted.map(({ id }) => id));
    for (const [id, row] of rows) {
      if (present.has(id)) continue;
      row.root.remove();
      rows.delete(id);
    }
    sorted.forEach((worker, index) => {
      let row = rows.get(worker.id);
      const fresh = row === undefined;
      if (!row) rows.set(worker.id, (row = createRow(page)));
      row.draw(worker, view.config.streams, admin, texts || fresh);
      if (body.children[index] !== row.root) body.insertBefore(row.root, body.children[index] ?? null);
    });
    drawCount(page, state);
  }
}

function drawCount({ texts, format }: Page, { view }: DashboardState): void {
  const { workers, workerCount } = view!;
  const count = (state: WorkerView['state']): string => format.whole(workers.filter((worker) => worker.state === state).length);
  setText(
    the('workers-count'),
    workerCount === 0 ? '' : texts.workersCount(format.whole(workerCount), count('computing'), count('late')),
  );
  const listed = workers.filter(({ state }) => state !== 'left').length;
  const more = workerCount - listed;
  const note = workerCount === 0 ? texts.workersNone : more > 0 ? texts.workersMore(format.whole(more)) : '';
  setText(the('workers-note'), note);
  the('workers-scroll').hidden = workers.length === 0;
}

function createHead(page: Page, onSort: (by: SortKey) => void): { root: HTMLElement; draw(order: Order, admin: boolean): void } {
  const buttons = SORT_KEYS.map((key) => {
    const button = make('button', { type: 'button', className: 'sort' });
    button.addEventListener('click', () => onSort(key));
    return button;
  });
  const cells = SORT_KEYS.map((key, i) =>
    make('th', { scope: 'col', className: NUMBERS.includes(key) ? 'number' : '' }, buttons[i]),
  );
  const actions = make('th', { scope: 'col' });
  return {
    root: make('thead', {}, make('tr', {}, ...cells, actions)),
    draw({ by, ascending }, admin) {
      SORT_KEYS.forEach((key, i) => {
        setText(buttons[i], page.texts.columns[key]);
        setAttribute(cells[i], 'aria-sort', key !== by ? 'none' : ascending ? 'ascending' : 'descending');
      });
      actions.hidden = !admin;
      setText(actions, page.texts.actions);
    },
  };
}

function createRow(page: Page): Row {
  const name = make('th', { scope: 'row', className: 'name' });
  const cells = SORT_KEYS.slice(1).map((key) => make('td', { className: NUMBERS.includes(key) ? 'number' : key }));
  const [state, speed, share, latency, rounds, seen, engine, kind] = cells;
  const bar = make('i', { className: 'bar' });
  const shareText = make('span');
  share.append(bar, shareText);
  const badge = make('span', { className: 'badge' });
  const reason = make('span', { className: 'hint reason', lang: 'en' });
  state.append(badge, reason);
  const actions = make('td', { className: 'actions' });
  const root = make('tr', {}, name, ...cells, actions);
  let shown: WorkerView | undefined;
  const buttons = (['kick', 'ban'] as const).map((action) => {
    const button = make('button', { type: 'button', className: 'small' });
    button.addEventListener('click', () => void expel(page, action, shown!));
    actions.append(button);
    return button;
  });

  return {
    root,
    draw(worker, streams, admin, texts) {
      shown = worker;
      const { format } = page;
      setClass(root, worker.state === 'left' ? 'gone' : '');
      setText(name, worker.name);
      setText(kind, page.texts.kinds[worker.kind]);
      setText(engine, [worker.engine, worker.device].filter(Boolean).join(' · ') || NOTHING);
      setText(speed, worker.charsPerSecond > 0 ? format.compact(worker.charsPerSecond) : NOTHING);
      const fraction = streams > 0 ? worker.streams / streams : 0;
      setText(shareText, page.texts.shareOf(format.whole(worker.streams), format.percent(fraction)));
      bar.style.setProperty('--fraction', fraction.toFixed(3));
      setText(latency, worker.latencyMs === undefined ? NOTHING : format.duration(worker.latencyMs));
      setText(rounds, format.whole(worker.rounds));
      setText(
        seen,
        worker.lastSeenMs < 2_000 ? page.texts.seenNow : page.texts.seenAgo(format.duration(whole(worker.lastSeenMs))),
      );
      setClass(badge, `badge ${worker.state}`);
      setText(badge, page.texts.states[worker.state]);
      setText(reason, worker.reason);
      actions.hidden = !admin;
      if (texts) label(worker);
      for (const button of buttons) button.hidden = worker.state === 'left';
    },
  };

  function label(worker: WorkerView): void {
    const words = [page.texts.kick, page.texts.ban];
    buttons.forEach((button, i) => {
      setText(button, words[i]);
      setAttribute(button, 'aria-label', `${words[i]} ${worker.name}`);
    });
  }
}

/** To the second: a column that counts milliseconds never rests. */
const whole = (ms: number): number => Math.round(ms / 1000) * 1000;

async function expel(page: Page, action: 'kick' | 'ban', { id, name }: WorkerView): Promise<void> {
  const { texts } = page;
  const [title, what, yes] =
    action === 'kick' ? [texts.kickTitle(name), texts.kickWhat, texts.kick] : [texts.banTitle(name), texts.banWhat, texts.ban];
  if (!(await page.confirm(title, what, yes))) return;
  await attempt(page, async () => (await page.api.control({ action, workerId: id }, page.signal)).text);
}
