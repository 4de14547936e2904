/** The log of the run, the newest on top. */
import type { EventKind, LoggedEvent } from '@troupe/run';
import type { DashboardState } from '../state/state.js';
import { make, setAttribute, setText, the } from './dom.js';
import { changed, type Page, type Panel } from './page.js';

const SHOWN = 200;

export function createEvents(page: Page): Panel {
  const filter = the('event-filter', HTMLSelectElement);
  const list = the('event-list');
  let kind = '';
  /** Of the newest entry in the list. */
  let last = -1;
  filter.addEventListener('change', () => {
    kind = filter.value;
    draw(page.state, true);
  });
  return (state, before) => {
    if (!before) fillFilter(page, filter, kind);
    // Fewer than before: the run went back to a checkpoint.
    const anew = before === undefined || (state.events.at(-1)?.id ?? -1) < last || state.view?.runId !== before.view?.runId;
    if (changed(state, before, 'events')) draw(state, anew || (state.events[0]?.id ?? 0) < (before?.events[0]?.id ?? 0));
  };

  function draw({ events }: DashboardState, anew: boolean): void {
    const wanted = events.filter((event) => kind === '' || event.kind === kind).slice(-SHOWN);
    const fresh = anew ? wanted : wanted.filter(({ id }) => id > last);
    last = events.at(-1)?.id ?? -1;
    const entries = fresh.reverse().map((event) => createEntry(page, event));
    if (anew) list.replaceChildren(...entries);
    else list.prepend(...entries);
    while (list.childElementCount > SHOWN) list.lastElementChild!.remove();
    the('events-none').hidden = list.childElementCount > 0;
    the('event-log').hidden = list.childElementCount === 0;
  }
}

function fillFilter({ texts }: Page, filter: HTMLSelectElement, kind: string): void {
  const kinds = Object.keys(texts.eventKinds) as EventKind[];
  filter.replaceChildren(
    make('option', { value: '', text: texts.eventAll }),
    ...kinds.map((value) => make('option', { value, text: texts.eventKinds[value] })),
  );
  filter.value = kind;
}

function createEntry({ texts, format }: Page, { at, round, kind, level, text, remedy }: LoggedEvent): HTMLElement {
  const time = make('time', { text: format.clock(at) });
  setAttribute(time, 'datetime', new Date(at).toISOString());
  const what = make('span', { className: 'what', lang: 'en', text });
  if (remedy) what.append(make('span', { className: 'hint', text: ` ${remedy}` }));
  const label = make('span', { className: `badge ${kind}` });
  setText(label, texts.eventKinds[kind]);
  return make(
    'li',
    { className: level },
    time,
    make('span', { className: 'hint', text: texts.eventRound(format.whole(round)) }),
    label,
    what,
  );
}
