/** The table of workers: one row each, whose cells are updated in place. */
import type { WorkerView } from '@troupe/run';
import { auditMark } from '../reading/audits.js';
import { peerMark, summingText, type PeerMark } from '../reading/peers.js';
import { planRows } from '../reading/rows.js';
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
const columnClass = (key: SortKey): string => (NUMBERS.includes(key) ? `${key} number` : key);

export function createWorkers(page: Page): Panel {
  const rows = new Map<string, Row>();
  let order: Order = { by: 'name', ascending: true };
  let [turn, waiting] = [0, 0];
  const body = make('tbody');
  const head = createHead(page, (by) => {
    order = { by, ascending: order.by === by ? !order.ascending : firstDirection(by) };
    draw(page.state, false);
  });
  const sight = createSight(() => draw(page.state, false));
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
    cancelAnimationFrame(waiting);
    head.draw(order, isAdmin(state));
    removeRows(view.workers);
    const sorted = ordered(view.workers, order);
    const plan = planRows(
      sorted.map(({ id }) => id),
      { isKnown: (id) => rows.has(id), isInSight: (id) => sight.has(rows.get(id)?.root), turn: turn++, all: texts },
    );
    const workers = new Map(sorted.map((worker) => [worker.id, worker]));
    plan.rows.forEach(({ id, isNew, draw: isDue }, place) => {
      const row = rows.get(id) ?? addRow(id);
      if (isDue) row.draw(workers.get(id)!, view.config.streams, isAdmin(state), texts || isNew);
      if (body.children[place] !== row.root) body.insertBefore(row.root, body.children[place] ?? null);
    });
    if (!plan.isComplete) waiting = requestAnimationFrame(() => draw(page.state, false));
    drawCount(page, state);
  }

  function addRow(id: string): Row {
    const row = createRow(page);
    rows.set(id, row);
    sight.watch(row.root);
    return row;
  }

  function removeRows(workers: readonly WorkerView[]): void {
    const present = new Set(workers.map(({ id }) => id));
    for (const [id, row] of rows) {
      if (present.has(id)) continue;
      sight.forget(row.root);
      row.root.remove();
      rows.delete(id);
    }
  }
}

interface Sight {
  watch(element: Element): void;
  forget(element: Element): void;
  has(element: Element | undefined): boolean;
}

/** Tracks which elements are in view. @param onCome called when more of them are */
function createSight(onCome: () => void): Sight {
  const seen = new Set<Element>();
  const observer = new IntersectionObserver((entries) => {
    const come = entries.filter(({ target, isIntersecting }) => isIntersecting && !seen.has(target));
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) seen.add(target);
      else seen.delete(target);
    }
    if (come.length > 0) onCome();
  });
  return {
    watch: (element) => observer.observe(element),
    forget(element) {
      observer.unobserve(element);
      seen.delete(element);
    },
    has: (element) => element !== undefined && seen.has(element),
  };
}

function drawCount({ texts, format }: Page, { view }: DashboardState): void {
  const { workers, workerCount, phase } = view!;
  const count = (state: WorkerView['state']): string => format.whole(workers.filter((worker) => worker.state === state).length);
  setText(
    the('workers-count'),
    workerCount === 0
      ? ''
      : texts.workersCount(format.whole(workerCount), count('computing'), count('late')) + summingText(workers, texts, format),
  );
  const listed = workers.filter(({ state }) => state !== 'left').length;
  const more = workerCount - listed;
  const none = phase === 'over' ? '' : texts.workersNone;
  const note = workerCount === 0 ? none : more > 0 ? texts.workersMore(format.whole(more)) : '';
  setText(the('workers-note'), note);
  the('workers-scroll').hidden = workers.length === 0;
}

function createHead(page: Page, onSort: (by: SortKey) => void): { root: HTMLElement; draw(order: Order, admin: boolean): void } {
  const buttons = SORT_KEYS.map((key) => {
    const button = make('button', { type: 'button', className: 'sort' });
    button.addEventListener('click', () => onSort(key));
    return button;
  });
  const cells = SORT_KEYS.map((key, i) => make('th', { scope: 'col', className: columnClass(key) }, buttons[i]));
  const actions = make('th', { scope: 'col', className: 'actions' });
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
  const cells = SORT_KEYS.slice(1).map((key) => make('td', { className: columnClass(key) }));
  const [state, speed, share, latency, rounds, seen, engine, device, kind] = cells;
  const bar = make('i', { className: 'bar' });
  const shareText = make('span');
  share.append(bar, shareText);
  const badge = make('span', { className: 'badge' });
  const summing = make('span', { className: 'badge', hidden: true });
  const audited = make('span', { className: 'badge', hidden: true });
  const reason = make('span', { className: 'hint reason', lang: 'en' });
  state.append(make('div', { className: 'doing' }, badge, summing, audited, reason));
  const actions = make('td', { className: 'actions' });
  const root = make('tr', {}, name, ...cells, actions);
  let shown: WorkerView | undefined;
  /** The number of streams for which the share was drawn. */
  let shownOf = 0;
  const buttons = (['kick', 'ban'] as const).map((action) => {
    const button = make('button', { type: 'button', className: 'small' });
    button.addEventListener('click', () => void removeWorker(page, action, shown!));
    actions.append(button);
    return button;
  });

  return {
    root,
    draw(worker, streams, admin, texts) {
      const before = texts ? undefined : shown;
      const differs = (key: keyof WorkerView): boolean => before === undefined || before[key] !== worker[key];
      shown = worker;
      actions.hidden = !admin;
      if (texts) label(worker);
      if (differs('state')) drawState(worker.state);
      if (differs('name')) setText(name, worker.name);
      if (differs('kind')) setText(kind, page.texts.kinds[worker.kind]);
      if (differs('engine')) setText(engine, worker.engine || NOTHING);
      if (differs('device')) setText(device, worker.device ?? NOTHING);
      drawMark(summing, peerMark(worker, page.texts, page.format));
      drawMark(audited, auditMark(worker, page.texts, page.format));
      if (differs('reason')) drawReason(worker.reason);
      if (differs('streams') || differs('state') || shownOf !== streams) drawShare(worker, (shownOf = streams));
      drawFigures(worker, differs);
    },
  };

  function drawState(now: WorkerView['state']): void {
    setClass(root, now === 'left' ? 'gone' : '');
    setClass(badge, `badge ${now}`);
    setText(badge, page.texts.states[now]);
    for (const button of buttons) button.hidden = now === 'left';
  }

  /** Its tooltip has the figures. */
  function drawMark(mark: HTMLElement, { label: text, what }: PeerMark): void {
    mark.hidden = text === '';
    setText(mark, text);
    setAttribute(mark, 'title', what);
  }

  /** One line, so that rows keep their height; the tooltip shows all of it. */
  function drawReason(text: string): void {
    setText(reason, text);
    setAttribute(state, 'title', text);
  }

  function drawShare({ streams: lent, state: now }: WorkerView, streams: number): void {
    const fraction = streams > 0 && now !== 'left' ? lent / streams : 0;
    const text = page.texts.shareOf(page.format.whole(lent), page.format.percent(fraction));
    setText(shareText, now === 'left' ? NOTHING : text);
    bar.style.setProperty('--fraction', fraction.toFixed(3));
  }

  function drawFigures(
    { charsPerSecond, latencyMs, rounds: counted, lastSeenMs }: WorkerView,
    differs: (key: keyof WorkerView) => boolean,
  ): void {
    const { format, texts } = page;
    if (differs('charsPerSecond')) setText(speed, charsPerSecond > 0 ? format.compact(charsPerSecond) : NOTHING);
    if (differs('latencyMs')) setText(latency, latencyMs === undefined ? NOTHING : format.duration(latencyMs));
    if (differs('rounds')) setText(rounds, format.whole(counted));
    setText(seen, lastSeenMs < 2_000 ? texts.seenNow : texts.seenAgo(format.duration(whole(lastSeenMs))));
  }

  function label(worker: WorkerView): void {
    const words = [page.texts.kick, page.texts.ban];
    buttons.forEach((button, i) => {
      setText(button, words[i]);
      setAttribute(button, 'aria-label', `${words[i]} ${worker.name}`);
    });
  }
}

/** Rounded to seconds, so that the column does not change at every update. */
const whole = (ms: number): number => Math.round(ms / 1000) * 1000;

async function removeWorker(page: Page, action: 'kick' | 'ban', { id, name }: WorkerView): Promise<void> {
  const { texts } = page;
  const [title, what, yes] =
    action === 'kick' ? [texts.kickTitle(name), texts.kickWhat, texts.kick] : [texts.banTitle(name), texts.banWhat, texts.ban];
  if (!(await page.confirm(title, what, yes))) return;
  await attempt(page, async () => (await page.api.control({ action, workerId: id })).text);
}
